import numpy as np
import pytest

from lyapkit.tasks.images import as_sequences, load_digits, load_mnist


def test_digits():
    images = load_digits()
    assert images.train_images.shape == (1437, 8, 8)
    assert images.test_images.shape == (360, 8, 8)
    assert images.train_images.min() == 0.0
    assert images.train_images.max() == 1.0
    assert set(np.bincount(images.test_labels)) <= {35, 36, 37}
    again = load_digits()
    np.testing.assert_array_equal(images.test_images, again.test_images)
    train = {image.tobytes() for image in images.train_images}
    assert sum(image.tobytes() in train for image in images.test_images) == 0


def test_sequences():
    images = np.arange(24.0).reshape(2, 3, 4)
    rows, pixels = as_sequences(images), as_sequences(images, "pixels")
    assert rows.shape == (2, 3, 4)
    np.testing.assert_array_equal(rows[1, 2], [20, 21, 22, 23])
    assert pixels.shape == (2, 12, 1)
    np.testing.assert_array_equal(pixels[0, :, 0], np.arange(12))
    with pytest.raises(ValueError, match="order must be 'rows' or 'pixels', got 'columns'"):
        as_sequences(images, "columns")


@pytest.mark.needs_data
def test_mnist():
    images = load_mnist()
    assert images.train_images.shape == (60_000, 28, 28)
    assert images.test_images.shape == (10_000, 28, 28)
    assert images.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert images.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert images.train_images.mean() == pytest.approx(0.1307, abs=1e-4)


def test_missing_mnist_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LYAPKIT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="LYAPKIT_DATA is set to"):
        load_mnist()
