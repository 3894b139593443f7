"""The evaluation of networks on clean and corrupted images: it fills runs with records."""
