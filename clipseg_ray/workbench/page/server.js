/* The server: what is sent to it, and its events as they come. Paths are relative to the page's, which has the token. */

/** Send JSON, a file or nothing; the JSON that comes back. What is put arrives though the page is left. Throws an Error that says what was refused. */
export async function send(method, path, body = undefined) {
  const headers = body instanceof Blob || body === undefined ? {} : { "content-type": "application/json" };
  const sent = body instanceof Blob || body === undefined ? body : JSON.stringify(body);
  const answer = await reached(fetch(path, { method, headers, body: sent, keepalive: method === "PUT" && sent.length < 60_000 }));
  if (answer.status === 204) return null;
  const value = await answer.json().catch(() => ({ error: `the workbench answered with status ${answer.status}` }));
  if (!answer.ok) throw new Error(value.error);
  return value;
}

/** Server-sent events of an answer, `handle(name, value)` for each, until it ends or the signal aborts. */
export async function events(method, path, body, signal, handle) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const answer = await reached(fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal }));
  if (!answer.ok) throw new Error((await answer.json()).error);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const [name, data] = event.split("\n");
      const read = JSON.parse(data.slice("data: ".length));
      if (name === "event: fault") throw new Error(read.error);
      await handle(name.slice("event: ".length), read);
    }
  }
}

async function reached(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The workbench does not answer; it may have been ended. Start it again, and open the address that it prints.");
  }
}

/** The bytes of a base64 text that was compressed with zlib. */
export async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
