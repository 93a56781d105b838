"""The report: one page that needs no network, and the data beside it."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import safetensors.torch
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import cross_entropy

import lyapkit as lk

VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """Open and closed tags, links to elsewhere, pictures and cells."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.outside, self.pictures, self.cells = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        address = attributes.get("src") or attributes.get("href") or ""
        if address.startswith("data:image/png;base64,"):
            self.pictures.append(base64.b64decode(address.partition(",")[2]))
        elif address:
            self.outside.append(address)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.fixture
def model():
    return lk.RecurrentNetwork(nn.LSTM(2, 3), nn.Linear(3, 3)).double()


def test_page_from_the_shell(model, tmp_path, run):
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(4, 70, 2)), np.arange(4) % 3
    np.save(tmp_path / "x.npy", inputs)
    np.save(tmp_path / "y.npy", labels)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "m.safetensors")
    code, out, err = run(
        "report", tmp_path / "m.safetensors", "--inputs", tmp_path / "x.npy", "--targets", tmp_path / "y.npy",
        "--output", tmp_path / "page.html", "-k", "2", "-q",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "wrote" in out
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert (page.open, page.wrong, page.outside) == ([], [], [])
    assert len(page.pictures) == 4  # spectrum, convergence, gradients, eigenvalues
    assert all(picture.startswith(b"\x89PNG") for picture in page.pictures)
    spectrum = lk.lyapunov_spectrum(model, inputs)
    mean = lk.ensemble_mean(spectrum).lyapunov_exponent.values
    shown = [float(row[1]) for row in zip(*[iter(page.cells[: 4 * 6])] * 4, strict=True)]
    np.testing.assert_allclose(shown, mean, rtol=1e-5)
    assert lk.in_words(spectrum) in text
    assert "created_at" in text

    tree = xr.open_datatree(tmp_path / "page.nc")
    np.testing.assert_allclose(tree["spectrum/lyapunov_exponent"], spectrum.lyapunov_exponent, rtol=1e-12)
    norms = lk.gradient_norms(model, inputs, labels, cross_entropy)
    np.testing.assert_allclose(tree["gradients/gradient_norm"], norms.gradient_norm, rtol=1e-10)
    assert tree["curvature"].dataset.sizes["eigenvalue"] == 2
    tree.close()


def test_names_cannot_break_the_page(model, tmp_path):
    ds = lk.lyapunov_spectrum(model, torch.randn(1, 70, 2).numpy())
    lk.report({"spectrum": ds}, tmp_path / "r.html", title="<script>alert(1)</script> & co", command="a < b")
    text = (tmp_path / "r.html").read_text()
    assert len(re.findall("<script>", text)) == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in text


def test_all_eigenvalues_and_those_of_several_checkpoints(model, tmp_path):
    """They have pictures and words, and no residuals to tabulate."""
    given = (np.random.default_rng(0).normal(size=(4, 9, 2)), np.arange(4) % 3, cross_entropy)
    whole = lk.ggn_eigenvalues(model, *given)
    over = lk.over_training(lk.hessian_eigenvalues, {0: model, 7: model}, *given, k=2)
    lk.report({"all": whole, "training": over}, tmp_path / "r.html", title="")
    page = Page((tmp_path / "r.html").read_text())
    assert (page.open, page.wrong, len(page.pictures)) == ([], [], 2)


def test_what_is_refused(model, tmp_path):
    ds = lk.lyapunov_spectrum(model, torch.randn(1, 70, 2).numpy())
    with pytest.raises(ValueError, match=r"expected a name that ends in \.html"):
        lk.report({"spectrum": ds}, tmp_path / "r.pdf", title="")
    with pytest.raises(ValueError, match="nothing to report"):
        lk.report({}, tmp_path / "r.html", title="")
    with pytest.raises(ValueError, match="no spectrum"):
        lk.report({"x": xr.Dataset({"x": 1.0})}, tmp_path / "r.html", title="")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_is_refused_before_the_work(model, tmp_path, run, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((1, 70, 2)))
    safetensors.torch.save_file(model.state_dict(), tmp_path / "m.safetensors")
    monkeypatch.setattr(lk, "lyapunov_spectrum", lambda *_, **__: pytest.fail("it has begun to work"))
    arguments = ["report", tmp_path / "m.safetensors", "--inputs", tmp_path / "x.npy", "-q", "--output"]
    code, _, err = run(*arguments, tmp_path / "page.txt")
    assert (code, "expected a name that ends in .html" in err) == (2, True)
    code, _, err = run(*arguments, tmp_path / "page.html", "--covariant", "7")
    assert (code, "--covariant must be between 1 and the state size 6, got 7" in err) == (2, True)
    code, _, err = run(*arguments, tmp_path / "no" / "page.html")
    assert (code, "does not exist" in err) == (2, True)
