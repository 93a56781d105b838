"""The report as a browser shows it: nothing fetched, pictures there, tables sorted, readable in light and dark."""

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine to open the page in")
LOOK = """<script>
const found = {wrong: []};
addEventListener("error", (event) => found.wrong.push(event.message));
addEventListener("load", () => {
  const cells = (table, column) => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
  const tables = [...document.querySelectorAll("table.sortable")];
  found.sorted = tables.map((table) => [...table.tHead.rows[0].cells].map((head, column) => {
    head.click();
    const up = cells(table, column);
    head.click();
    return [up, cells(table, column)];
  }));
  found.fetched = performance.getEntriesByType("resource").map((entry) => entry.name)
    .filter((name) => !name.startsWith("data:"));
  found.pictures = [...document.images].map((image) => image.complete && image.naturalWidth);
  found.width = [innerWidth, document.documentElement.scrollWidth];
  const style = getComputedStyle(document.body);
  const canvas = document.createElement("span");
  canvas.style = "background: Canvas; color: CanvasText";
  document.body.append(canvas);
  found.colours = [getComputedStyle(canvas).backgroundColor, style.color];
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = JSON.stringify(found);
  document.body.append(place);
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    torch.manual_seed(0)
    model = lk.RecurrentNetwork(nn.LSTM(2, 10), nn.Linear(10, 3)).double()
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(4, 200, 2)), np.arange(4) % 3
    with pytest.warns(lk.ReliabilityWarning, match="did not converge"):
        directions = lk.covariant_vectors(model, inputs, n_exponents=2, n_backward_transient=1)
    measured = {
        "spectrum": lk.lyapunov_spectrum(model, inputs),
        "covariant vectors": directions,
        "gradients": lk.gradient_norms(model, inputs, labels, "cross-entropy"),
        "curvature": lk.hessian_eigenvalues(model, inputs, labels, "cross-entropy", 12),
    }
    path = tmp_path_factory.mktemp("report") / "page.html"
    lk.report(measured, path, title="An LSTM", command="lyapkit report " + 30 * "a_long_name/" + "model.pt")
    path.write_text(path.read_text().replace("<head>", f"<head>{LOOK}"))
    return path


def opened(page, width, dark):
    """Return what the page's own script finds in a window of that width."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--window-size={width},900", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(unescape(re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)[1]))


def number(text):
    return float(text.replace("≤", "").replace("−", "-").replace("∞", "inf").replace("n/a", "-inf"))


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)", as WCAG 2 defines it."""
    share = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    return float(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("width", [500, 1400])  # Chromium's windows are at least 500 pixels wide
@pytest.mark.parametrize("dark", [False, True])
def test_page(page, width, dark):
    found = opened(page, width, dark)
    assert (found["wrong"], found["fetched"]) == ([], [])
    assert len(found["pictures"]) == 5
    assert all(picture > 300 for picture in found["pictures"])
    assert found["width"][1] <= found["width"][0], "it is wider than the window"
    background, text = map(luminance, found["colours"])
    assert (background < text) == dark
    assert (max(background, text) + 0.05) / (min(background, text) + 0.05) > 7
    assert [len(table) for table in found["sorted"]] == [4, 3]
    for table in found["sorted"]:
        for up, down in table:
            values = [number(text) for text in up]
            assert values == sorted(values)
            assert [number(text) for text in down] == values[::-1]
            assert len(set(values)) > 5
