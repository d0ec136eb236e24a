"""What pyproject.toml cannot say: on a package's page the README's links and pictures lead to the repository."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
HOME = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Homepage"]
FILES = HOME.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
PAGES = f"{HOME}/blob/main/"
_HERE = r"(?!https?://|#)"

text = (HERE / "README.md").read_text("utf-8")
text = re.sub(rf'(!\[[^\]]*\]\(|src="|srcset="){_HERE}', rf"\1{FILES}", text)
text = re.sub(rf"(?<!!)(\[[^\]]*\]\(){_HERE}", rf"\1{PAGES}", text)

setup(long_description=text, long_description_content_type="text/markdown")
