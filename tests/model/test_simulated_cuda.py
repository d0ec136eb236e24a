"""The simulated GPU itself: mistakes must show."""

import pytest
import torch

from tests.model.simulated_cuda import SimulatedCuda


def test_numbers_read_too_early(monkeypatch):
    with SimulatedCuda(monkeypatch, "all"):
        target = torch.empty(4, pin_memory=True)
        there = torch.ones(4).pin_memory().to("cuda:0", non_blocking=True)
        target.copy_(there, non_blocking=True)
        assert target.isnan().all()
        torch.cuda.synchronize()
        assert (target == 1).all()


@pytest.mark.parametrize("careful", [True, False])
def test_a_stream_that_does_not_wait(monkeypatch, careful):
    with SimulatedCuda(monkeypatch, ("default",)):
        side = torch.cuda.Stream()
        there = torch.ones(4).to("cuda:0")
        if careful:
            side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            doubled = there + there
        torch.cuda.current_stream().wait_stream(side)
        assert (doubled.cpu() == 2).all() == careful


@pytest.mark.parametrize("careful", [True, False])
def test_memory_given_away_while_in_use(monkeypatch, careful):
    with SimulatedCuda(monkeypatch, ("stream 1",)):
        side = torch.cuda.Stream()
        there = torch.ones(4).to("cuda:0")
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            doubled = there + there
        if careful:
            there.record_stream(side)
        del there
        torch.cuda.current_stream().wait_stream(side)
        assert (doubled.cpu() == 2).all() == careful


def test_what_a_graph_gave_before_is_overwritten(monkeypatch):
    with SimulatedCuda(monkeypatch, "all"):
        there = torch.ones(4).to("cuda:0")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            doubled = there + there
        assert doubled.cpu().isnan().all()
        graph.replay()
        assert (doubled.cpu() == 2).all()
        there.fill_(3)
        graph.replay()
        assert (doubled.cpu() == 6).all()


def test_host_and_device_are_kept_apart(monkeypatch):
    with SimulatedCuda(monkeypatch):
        there = torch.ones(4).to("cuda:0")
        with pytest.raises(RuntimeError, match="meet"):
            there + torch.ones(4)
        with pytest.raises(RuntimeError, match="meet"):
            there[torch.tensor([1, 2])]
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
            there.cpu()


def test_a_graph_destroyed_while_it_runs(monkeypatch):
    with SimulatedCuda(monkeypatch, "all") as cuda:
        there = torch.ones(4).to("cuda:0")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            doubled = there + there
        del doubled
        graph.replay()
        del graph
        assert cuda.faults == ["a graph was destroyed while it ran"]
        cuda.faults.clear()
