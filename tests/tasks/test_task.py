"""Tasks: batches that depend on seed and iteration alone, losses and scores, and what a task is called."""

import numpy as np
import pytest
import torch

from lyapkit.tasks import TASKS, AddingTask, power_spectrum, task
from lyapkit.tasks.images import Images, ImageTask, load_digits, pixel_order


def _images(n_train=50, n_test=20, side=4):
    rng = np.random.default_rng(0)
    images = [rng.uniform(size=(n, side, side)) for n in (n_train, n_test)]
    return Images(images[0], np.arange(n_train) % 3, images[1], np.arange(n_test) % 3)


@pytest.mark.parametrize("make", [lambda: ImageTask("some", _images()), lambda: AddingTask(10)])
def test_batches_depend_on_seed_and_iteration_alone(make):
    one, other = make(), make()
    later = [one.batch(iteration, 8, seed=1) for iteration in range(14)][13]
    for a, b in zip(later, other.batch(13, 8, seed=1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.batch(13, 8, seed=2)[0], later[0])
    assert not np.array_equal(one.batch(12, 8, seed=1)[0], later[0])


def test_an_epoch_has_every_image_at_most_once():
    images = _images()
    the_task = ImageTask("some", images)
    assert the_task.iterations_per_epoch(8) == 6
    seen = [np.concatenate([the_task.batch(6 * epoch + i, 8)[0] for i in range(6)]) for epoch in (0, 1)]
    assert len(np.unique(seen[0][:, :, 0], axis=0)) == 48
    assert not np.array_equal(seen[0], seen[1])
    whole = {row.tobytes() for row in images.train_images.reshape(50, -1).astype(np.float32)}
    assert all(sequence[:, 0].tobytes() in whole for sequence in np.concatenate(seen))


def test_labels_belong_to_images():
    images = load_digits()
    the_task = task("digits")
    inputs, targets = the_task.batch(3, 32)
    assert inputs.shape == (32, 64, 1)
    for sequence, target in zip(inputs, targets, strict=True):
        same = (images.train_images.reshape(-1, 64).astype(np.float32) == sequence[:, 0]).all(1)
        assert target in images.train_labels[same]
    inputs, targets = the_task.test_samples(7)
    np.testing.assert_allclose(inputs[:, :, 0], images.test_images[:7].reshape(7, 64), atol=1e-7)
    np.testing.assert_array_equal(targets, images.test_labels[:7])


def test_test_samples_of_the_adding_problem_are_no_training_samples():
    the_task = AddingTask(10)
    train, test = the_task.batch(0, 100, seed=0)[0], the_task.test_samples()[0]
    assert len(test) == 10_000
    np.testing.assert_array_equal(test[:5], AddingTask(10).test_samples(5)[0])
    assert not np.isin(train[:, :, 0], test[:, :, 0]).any()


def test_permuted_pixels():
    images = _images()
    plain, permuted = ImageTask("some", images), ImageTask("some", images, permuted=True)
    order = permuted.permutation
    assert sorted(order) == list(range(16))
    assert list(order) != sorted(order)
    for a, b in zip(plain.batch(2, 8), permuted.batch(2, 8), strict=True):
        np.testing.assert_array_equal(a[:, order] if a.ndim == 3 else a, b)
    np.testing.assert_array_equal(plain.test_samples()[0][:, order], permuted.test_samples()[0])
    assert len(permuted.description["permutation_sha256"]) == 64


def test_the_order_of_psmnist_does_not_change():
    """Results of different versions of NumPy would not be comparable if it did."""
    assert pixel_order(784)[:6].tolist() == [318, 2, 606, 446, 758, 13]


def test_downsampling_takes_means():
    images = _images()
    small = ImageTask("some", images, downsample=2)
    assert (small.name, small.n_steps, small.row_length) == ("some/2", 4, 2)
    expected = images.test_images.reshape(20, 2, 2, 2, 2).mean((2, 4)).reshape(20, 4)
    np.testing.assert_allclose(small.test_samples()[0][:, :, 0], expected, atol=1e-7)
    with pytest.raises(ValueError, match="downsample must divide the size of the images, 4×4, got 3"):
        ImageTask("some", images, downsample=3)


def test_losses_and_scores_of_several_networks():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 6, 4, generator=generator)
    classes = torch.tensor([0, 1, 2, 3, 0, 1])
    classification = ImageTask("some", _images())
    expected = [torch.nn.functional.cross_entropy(one, classes) for one in outputs]
    torch.testing.assert_close(classification.loss(outputs, classes), torch.stack(expected))
    torch.testing.assert_close(classification.loss(outputs[1], classes), expected[1])
    accuracy = [sum(int(one[i].argmax()) == classes[i] for i in range(6)) / 6 for one in outputs]
    np.testing.assert_allclose(classification.score(outputs, classes), np.array(accuracy, dtype=float))
    assert bool(classification.is_better(torch.tensor(0.6), 0.5))
    adding = AddingTask(5)
    values = torch.randn(6, 4, generator=generator)
    rms = [((one - values) ** 2).mean() ** 0.5 for one in outputs]
    torch.testing.assert_close(adding.loss(outputs, values), torch.stack(rms))
    torch.testing.assert_close(adding.score(outputs, values), torch.stack(rms))
    assert bool(adding.is_better(torch.tensor(0.2), 0.25))
    assert (classification.minimal_performance, adding.minimal_performance) == (0.5, 0.25)


@pytest.mark.parametrize("length", [2, 100, 800])
def test_adding_tasks_by_name(length):
    the_task = task(f"add{length}")
    assert (the_task.name, the_task.n_steps, the_task.input_size, the_task.output_size) == (
        f"add{length}",
        length,
        2,
        1,
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", "unknown task 'mnist', expected one of: digits"),
        ("add", "unknown task 'add'"),
        ("add1", "at least 2 steps"),
        ("add100/2", "has no pixels to downsample"),
        ("digits/3", "downsample must divide"),
        ("digits/x", "do not go together"),
    ],
)
def test_unknown_tasks_are_refused_with_the_list(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        task(name)
    if "unknown" in message:
        assert all(known in str(caught.value) for known in TASKS)


def test_power_spectrum_of_a_sine():
    """Σ over frequencies is half the variance (Parseval), and the peak is at the sine's own frequency."""
    time = np.arange(64)
    rng = np.random.default_rng(0)
    rows = np.array([np.sin(2 * np.pi * 5 * time / 64 + rng.uniform(0, 6)) for _ in range(30)]).reshape(30, 8, 8)
    ds = power_spectrum(ImageTask("sines", Images(rows, np.zeros(30, int), rows, np.zeros(30, int))))
    assert float(ds.characteristic_frequency[0]) == pytest.approx(2 * np.pi * 5 / 64, abs=1e-12)
    assert float(ds.power.sum()) == pytest.approx(64 * 0.5 / 2, rel=1e-6)
    assert ds.frequency.attrs["units"] == "rad per step"


def test_digits_are_read_row_by_row():
    assert float(power_spectrum(task("digits")).characteristic_frequency[0]) == pytest.approx(2 * np.pi / 8)


@pytest.mark.needs_data
def test_mnist_has_its_characteristic_frequency_at_the_length_of_its_rows():
    assert float(power_spectrum(task("smnist"), 1000).characteristic_frequency[0]) == pytest.approx(2 * np.pi / 28)
    assert float(power_spectrum(task("smnist/2"), 1000).characteristic_frequency[0]) == pytest.approx(2 * np.pi / 14)
    plain, permuted = (power_spectrum(task(name), 1000).power[0] for name in ("smnist", "psmnist"))
    assert float(plain.max() / plain.median()) > 10 * float(permuted.max() / permuted.median())


@pytest.mark.needs_data
def test_cifar10():
    the_task = task("scifar10")
    assert (the_task.n_steps, the_task.samples_per_epoch, the_task.output_size) == (1024, 50_000, 10)
    inputs, targets = the_task.test_samples()
    assert inputs.mean() * 255 == pytest.approx(123.3919, abs=1e-3)
    assert np.bincount(targets).tolist() == [1000] * 10
