"""Every tensor of a file is accounted for: beside the recurrent ones it is refused, elsewhere it is said."""

import pytest
import torch
from torch import nn

import lyapkit as lk

H, N_INPUTS = 5, 3
CELL = {f"cell.{name}": tensor for name, tensor in nn.LSTMCell(N_INPUTS, H).state_dict().items()}
STACK = {f"rnn.{name}": tensor for name, tensor in nn.LSTM(N_INPUTS, H, 2).state_dict().items()}


def _norm(name, size=H):
    return {f"{name}.weight": torch.ones(size), f"{name}.bias": torch.zeros(size)}


SIBLINGS = {
    "layer norm in the cell": CELL | _norm("cell.ln_ih", 4 * H) | _norm("cell.ln_ho"),
    "layer norm beside the cell": CELL | _norm("ln") | {"fc.weight": torch.ones(2, H)},
    "layer norm beside the stack": STACK | _norm("norm"),
    "a leak of the model": STACK | {"alpha": torch.tensor(0.2)},
    "a leak of every unit": STACK | {"rnn.tau": torch.ones(H)},
    "a leak of a model in DDP": {f"module.{name}": t for name, t in (STACK | {"leak": torch.ones(1)}).items()},
    "a single bias": {
        "weight_ih": torch.ones(4 * H, N_INPUTS),
        "weight_hh": torch.eye(H).repeat(4, 1),
        "bias": torch.ones(H),
    },
    "peepholes": CELL | {"cell.weight_ci": torch.ones(H), "cell.weight_cf": torch.ones(H)},
    "peepholes of a stack of their own": STACK | {"peephole.weight": torch.ones(3, H)},
    "multiplicative": CELL | {"cell.weight_mih": torch.ones(H, N_INPUTS), "cell.weight_mhh": torch.ones(H, H)},
    "multiplicative, linear layers": CELL | {"wmx.weight": torch.ones(H, N_INPUTS), "wmh.weight": torch.ones(H, H)},
    "LoRA": STACK | {"rnn.lora_A": torch.ones(2, H), "rnn.lora_B": torch.ones(4 * H, 2)},
    "adapters of another name": STACK | {"adapters.hh.A": torch.ones(2, H), "adapters.hh.B": torch.ones(4 * H, 2)},
    "what is added to weights": STACK | {"delta.weight": torch.ones(4 * H, H)},
    "LoRA elsewhere": STACK | {"adapters.lora_A.weight": torch.ones(2, H)},
    "a mask of the connections": STACK | {"mask": torch.ones(H, H)},
    "a mask beside the weights": STACK | {"rnn.weight_hh_l0_mask": torch.ones(4 * H, H)},
    "a learnt initial state": STACK | {"h0": torch.zeros(2, 1, H)},
    "an attention in the cell's loop": CELL | {"attention.weight": torch.ones(H, 2 * H)},
    "a norm called an output": CELL | _norm("output_norm"),
    "a gate called an output": CELL | {"output_gate.weight": torch.ones(H, H + N_INPUTS)},
    "a skip called a projection": CELL | {"proj.weight": torch.ones(H, N_INPUTS)},
    "an attention on the inputs, called an encoder": CELL | {"encoder.weight": torch.ones(N_INPUTS, 2 * H + N_INPUTS)},
    "inputs and states in an input layer": CELL | {"input_layer.weight": torch.ones(N_INPUTS, H + N_INPUTS)},
    "a part of the cell called a metric": CELL | {"cell.metric.weight": torch.eye(H)},
    "a part of a bare cell called a loss": nn.LSTMCell(N_INPUTS, H).state_dict() | {"loss.weight": torch.eye(H)},
    "a gate called like an optimiser": CELL | {"optim_gate.weight": torch.eye(H)},
    "averaged weights beside": STACK | {"ema.rnnweight_hh_l0": torch.ones(4 * H, H)},
}


@pytest.mark.parametrize("name", SIBLINGS)
def test_what_may_change_the_equations_is_refused_by_name(tmp_path, name):
    torch.save(SIBLINGS[name], tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match="beside the recurrent ones that may change") as refused:
        lk.load_system(tmp_path / "m.pt", nonlinearity="tanh")
    ordinary = {*CELL, *STACK, *(f"module.{name}" for name in STACK), "weight_ih", "weight_hh", "bias_ih", "bias_hh"}
    odd = [name for name in SIBLINGS[name] if name not in ordinary]
    assert any(f"'{one}'" in str(refused.value) for one in odd)
    assert "\n" not in str(refused.value)
    assert all(way in str(refused.value) for way in ("from_module", "ignore=["))


def test_what_the_user_says_does_not_matter_is_ignored(tmp_path):
    torch.save(STACK | _norm("norm") | {"alpha": torch.ones(1)}, tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=r"'norm\.bias'"):
        lk.load_system(tmp_path / "m.pt", ignore=["alpha"])
    assert lk.load_system(tmp_path / "m.pt", ignore=["alpha", "norm.*"]).state_size == 4 * H


def test_language_model_is_read_and_what_was_assumed_is_said(tmp_path):
    rest = {
        "encoder.weight": torch.ones(100, N_INPUTS),
        "decoder.weight": torch.ones(100, H),
        "decoder.bias": torch.ones(100),
    }
    torch.save(STACK | rest, tmp_path / "lm.pt")
    system = lk.load_system(tmp_path / "lm.pt")
    said = system.description["assumptions"]
    assert "encoder is taken for what gives the inputs: inputs are to be given as it returns them" in said
    assert "decoder is taken for what reads the states" in said
    assert lk.load_network(tmp_path / "lm.pt").readout.out_features == 100


def test_what_only_its_place_speaks_for_is_warned_of(tmp_path):
    torch.save(STACK | {"attention.weight": torch.ones(7, 7), "n_averaged": torch.tensor(3)}, tmp_path / "m.pt")
    with pytest.warns(lk.CheckpointWarning, match=r"attention are taken to act before .* 'rnn\.' or after it"):
        lk.load_system(tmp_path / "m.pt")
    assert lk.load_system(tmp_path / "m.pt", ignore=["attention.*"]).state_size == 4 * H


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("coupled_lstm.cell.", nn.GRUCell, "its name says LSTM"),  # gates of which two are one have as many rows
        ("gru.", nn.LSTM, "its name says GRU"),
        ("zoneout.cell.", nn.LSTMCell, "says 'zoneout', and PyTorch's modules have no such thing"),
        ("encoder.ln_lstm.", nn.LSTM, "says 'ln_'"),
    ],
)
def test_names_that_say_something_else_are_warned_of(tmp_path, name, kind, said):
    torch.save({name + own: tensor for own, tensor in kind(N_INPUTS, H).state_dict().items()}, tmp_path / "m.pt")
    with pytest.warns(lk.CheckpointWarning, match=rf"'{name}' was taken for .* by its tensors, but .*{said}"):
        lk.load_system(tmp_path / "m.pt")
    ordinary = {f"model.lstm.{own}": tensor for own, tensor in nn.LSTM(N_INPUTS, H).state_dict().items()}
    torch.save(ordinary, tmp_path / "m.pt")
    lk.load_system(tmp_path / "m.pt")  # a warning would be an error


@pytest.mark.parametrize("shapes", [{"down.weight": (2, H), "up.weight": (4 * H, 2)}, {"low_rank.weight": (4 * H, H)}])
def test_what_may_be_added_to_weights_is_warned_of(tmp_path, shapes):
    torch.save(STACK | {name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "m.pt")
    with pytest.warns(lk.CheckpointWarning, match=r"(up|low_rank) are taken to act before the recurrent module"):
        lk.load_system(tmp_path / "m.pt")


@pytest.mark.parametrize("state", [CELL | {"proj.weight": torch.eye(H)}, STACK | _norm("output_norm")])
def test_what_may_act_on_states_is_warned_of_though_its_name_speaks_for_it(tmp_path, state):
    torch.save(state, tmp_path / "m.pt")
    with pytest.warns(lk.CheckpointWarning, match=r"(proj|output_norm) are taken to act before the recurrent module"):
        lk.load_system(tmp_path / "m.pt")


def test_bookkeeping_of_a_training_is_none_of_the_network(tmp_path):
    rest = {"criterion.weight": torch.ones(2), "val_loss.total": torch.ones(H), "lr_scheduler.a": torch.ones(H, H)}
    torch.save(STACK | rest | {"fc.weight": torch.ones(2, H)}, tmp_path / "m.pt")
    assert lk.load_network(tmp_path / "m.pt").readout.out_features == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("rnn.bias_hh_l1"), "layer 1 has one of bias_ih and bias_hh"),
        (lambda s: [s.pop(f"rnn.bias_{k}_l1") for k in ("ih", "hh")], "of layers 0 and 1 one has bias_hh, bias_ih and"),
        (lambda s: [s.pop(n) for n in list(s) if n.endswith("_l0")], r"layer\(s\) \[0\] are missing"),
        (lambda s: s.update({"rnn.weight_hh_l1_orig": s.pop("rnn.weight_hh_l1")}), "layer 1 has no weight_hh"),
        (lambda s: s.update({"rnn.weight_hh": torch.ones(20, 5)}), "weight_hh and weight_hh_l0 are both there"),
        (lambda s: s.update({"rnn.weight_hh_l2_raw2": torch.ones(20, 5)}), "'rnn.weight_hh_l2_raw2'"),
    ],
)
def test_parts_of_a_stack_are_no_stack(tmp_path, change, message):
    state = dict(STACK)
    change(state)
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=message):
        lk.load_system(tmp_path / "m.pt")


HEADS = {
    "two layers": nn.Sequential(nn.Linear(H, 9), nn.ReLU(), nn.Linear(9, 2)),
    "batch norm first": nn.Sequential(nn.BatchNorm1d(H), nn.Linear(H, 2)),
    "layer norm last": nn.Sequential(nn.Linear(H, 2), nn.LayerNorm(2)),
    "a learnt slope": nn.Sequential(nn.Linear(H, 2), nn.PReLU()),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("place", ["head", "fc"])
def test_more_than_a_linear_readout_is_refused(tmp_path, name, place):
    torch.save(nn.ModuleDict({"rnn": nn.GRU(N_INPUTS, H), place: HEADS[name]}).state_dict(), tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=rf"'{place}\..*may precede or follow the readout.*module="):
        lk.load_network(tmp_path / "m.pt")
    assert lk.load_system(tmp_path / "m.pt").state_size == H


def test_layers_of_a_head_beside_each_other_are_refused(tmp_path):
    parts = {"rnn": nn.GRU(N_INPUTS, H), "fc1": nn.Linear(H, H), "fc2": nn.Linear(H, 2)}
    torch.save(nn.ModuleDict(parts).state_dict(), tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match="choose the readout"):
        lk.load_network(tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=r"'fc1.weight'.*may precede or follow the readout 'fc2.'"):
        lk.load_network(tmp_path / "m.pt", readout="fc2")
    assert lk.load_network(tmp_path / "m.pt", readout="fc2", ignore=["fc1.*"]).readout.out_features == 2


@pytest.mark.parametrize(
    ("beside", "odd"),
    [
        ({"head.0": (H, H), "head.2": (2, H)}, "head.2"),  # which follows the one that was chosen
        ({"head.0": (2, H), "attention": (1, H)}, "attention"),
        ({"head.0": (2, H), "features": (2, N_INPUTS)}, "features"),  # a skip from the inputs
        ({"head.0": (2, H), "input_proj": (2, N_INPUTS)}, "input_proj"),
    ],
)
def test_what_may_act_on_the_outputs_is_refused(tmp_path, beside, odd):
    state = STACK | {f"{name}.weight": torch.ones(shape) for name, shape in beside.items()}
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=rf"'{odd}.weight'.*may precede or follow the readout 'head.0.'"):
        lk.load_network(tmp_path / "m.pt", readout="head.0")


@pytest.mark.parametrize("behind", [nn.ReLU(), nn.Dropout(0.1)])
def test_what_has_no_parameters_before_a_readout_is_said(tmp_path, behind):
    """Both leave the same file."""
    head = nn.Sequential(behind, nn.Linear(H, 2))
    torch.save(nn.ModuleDict({"rnn": nn.GRU(N_INPUTS, H), "head": head}).state_dict(), tmp_path / "m.pt")
    with pytest.warns(lk.CheckpointWarning, match=r"before the readout 'head.1.' lies 'head.0.', which has no tensors"):
        assert lk.load_network(tmp_path / "m.pt").readout.out_features == 2


def test_a_head_for_another_task_is_none_of_the_readout(tmp_path):
    torch.save(STACK | {"head_a.weight": torch.ones(2, H), "head_b.weight": torch.ones(3, H)}, tmp_path / "m.pt")
    assert lk.load_network(tmp_path / "m.pt", readout="head_b").readout.out_features == 3


class _Model(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.rnn, self.head = nn.GRU(N_INPUTS, H, batch_first=True), head

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("name", ["two layers", "batch norm first"])
@pytest.mark.parametrize("wrapping", ["", "module.", "_orig_mod.module."])
def test_a_state_dict_is_loaded_into_the_module_that_is_given(tmp_path, name, wrapping):
    model = _Model(HEADS[name]).eval()
    torch.save({wrapping + n: t for n, t in model.state_dict().items()}, tmp_path / "m.pt")
    loaded = lk.load_network(tmp_path / "m.pt", module=lambda: _Model(HEADS[name])).eval()
    inputs = torch.randn(3, 7, N_INPUTS)
    assert torch.equal(loaded(inputs), model(inputs))
    with pytest.raises(lk.CheckpointError, match="does not fit the module Linear"):
        lk.load_network(tmp_path / "m.pt", module=nn.Linear(2, 2))


def test_a_square_matrix_beside_the_recurrent_module_is_doubtful(tmp_path):
    state = {f"rnn.{name}": tensor for name, tensor in nn.GRU(3, 4).state_dict().items()}
    torch.save(state | {"gate.weight": torch.ones(4, 4)}, tmp_path / "m.pt")
    with pytest.warns(lk.CheckpointWarning, match="gate are taken to act before the recurrent module 'rnn.' or after"):
        lk.load_system(tmp_path / "m.pt")
    torch.save(state | {"fc.weight": torch.ones(4, 4)}, tmp_path / "m.pt")
    lk.load_system(tmp_path / "m.pt")  # as its name says, it reads the states
