"""Several recurrent modules of one file as one system, and what may lie between them."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk

INPUTS = np.random.default_rng(0).normal(size=(1, 60, 3))


def _exponents(system, inputs=INPUTS, **options):
    return lk.lyapunov_spectrum(system, inputs, **options)["lyapunov_exponent"].values


def _saved(path, **parts):
    modules = nn.ModuleDict(parts)
    torch.save(modules.state_dict(), path)
    return modules


def test_a_list_of_prefixes_is_a_row_of_modules(tmp_path):
    modules = _saved(tmp_path / "a.pt", encoder=nn.GRU(3, 4), decoder=nn.LSTM(4, 5), head=nn.Linear(5, 2))
    expected = _exponents(nn.Sequential(modules["encoder"], modules["decoder"]))
    system = lk.load_system(tmp_path / "a.pt", prefix=["encoder", "decoder."])
    assert isinstance(system, lk.Composition)
    assert system.description["composition"] == "'encoder.' drives 'decoder.'"
    np.testing.assert_array_equal(_exponents(system), expected)
    np.testing.assert_array_equal(_exponents(tmp_path / "a.pt", prefix=["encoder", "decoder"]), expected)
    alone = lk.load_system(tmp_path / "a.pt", prefix=["encoder"])
    np.testing.assert_array_equal(_exponents(alone), _exponents(modules["encoder"]))
    with pytest.raises(lk.CheckpointError, match="takes 3 features and is given 5"):
        lk.load_system(tmp_path / "a.pt", prefix=["decoder", "encoder"])


def test_options_of_reading_are_for_paths(tmp_path):
    torch.save(nn.RNN(3, 4).state_dict(), tmp_path / "a.pt")
    assert _exponents(tmp_path / "a.pt", nonlinearity="tanh").shape == (1, 4)
    with pytest.raises(TypeError, match="unexpected arguments prefix"):
        lk.lyapunov_spectrum(nn.GRU(3, 4), INPUTS, prefix="x")
    with pytest.raises(TypeError, match="n_step"):
        lk.lyapunov_spectrum(tmp_path / "a.pt", INPUTS, n_step=3)


@pytest.mark.parametrize(
    "between",
    [nn.Linear(4, 4), nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 4))],
    ids=["linear", "norm", "two layers"],
)
def test_what_may_lie_between_is_refused(tmp_path, between):
    _saved(tmp_path / "a.pt", encoder=nn.GRU(3, 4), between=between, decoder=nn.LSTM(4, 5))
    options = {"prefix": ["encoder", "decoder"]}
    with pytest.raises(lk.CheckpointError, match=r"a.pt holds tensors .*'between.*ignore="):
        lk.load_system(tmp_path / "a.pt", **options)
    assert lk.load_system(tmp_path / "a.pt", ignore=["between.*"], **options).state_size == 14


def test_what_may_lie_behind_an_embedding_is_refused(tmp_path):
    parts = {"embedding": nn.Embedding(7, 4), "rnn": nn.GRU(4, 5), "decoder": nn.Linear(5, 7)}
    modules = _saved(tmp_path / "a.pt", **parts)
    tokens = np.random.default_rng(0).integers(0, 7, (1, 60))
    expected = _exponents(modules["rnn"], modules["embedding"](torch.from_numpy(tokens)).detach())
    got = _exponents(lk.load_system(tmp_path / "a.pt", embedding="embedding"), tokens)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    _saved(tmp_path / "b.pt", input_proj=nn.Linear(4, 4), **parts)
    with pytest.raises(lk.CheckpointError, match="may lie between"):
        lk.load_system(tmp_path / "b.pt", embedding="embedding.weight")
    with pytest.raises(lk.CheckpointError, match="tables are embedding"):
        lk.load_system(tmp_path / "a.pt", embedding="words")


class Scaled(nn.Embedding):
    def forward(self, tokens):
        return 3 * super().forward(tokens)


class WithPlaces(nn.Embedding):
    def forward(self, tokens):
        return super().forward(tokens) + torch.arange(tokens.shape[1])[:, None]


def test_embeddings_are_what_their_modules_make_of_tokens():
    tokens = np.random.default_rng(0).integers(0, 7, (1, 60))
    for embedding in (Scaled(7, 4), nn.Embedding(7, 4, max_norm=0.5)):
        before = embedding.weight.detach().clone()
        gru = nn.GRU(4, 5)
        got = _exponents(nn.Sequential(embedding, gru), tokens)
        assert torch.equal(embedding.weight, before)
        expected = _exponents(gru, embedding(torch.from_numpy(tokens)).detach())
        np.testing.assert_allclose(got, expected, atol=1e-12)
    with pytest.raises(ValueError, match="WithPlaces makes of a token more"):
        lk.from_module(nn.Sequential(WithPlaces(7, 4), nn.GRU(4, 5)))


def test_odd_names_of_layers_and_embeddings_are_refused(tmp_path):
    state = nn.LSTM(3, 4).state_dict()
    torch.save(state | {"weight_hh_l00": state["weight_hh_l0"] * 2}, tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match="weight_hh_l00"):
        lk.load_system(tmp_path / "a.pt")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match="as a weight of a recurrent module, not as an embedding"):
        lk.load_system(tmp_path / "a.pt", embedding="weight_ih_l0")


def test_an_activation_function_is_for_an_rnn(tmp_path):
    torch.save(nn.LSTM(3, 4).state_dict(), tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match=r"not to be chosen, LSTM .*: leave out nonlinearity='relu'"):
        lk.load_system(tmp_path / "a.pt", nonlinearity="relu")
