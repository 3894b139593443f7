"""Classification: one label an image, one row an image."""

COLUMNS = {
    "image_id": "int64",
    "label": "int32",
    "prediction": "int32",
    "rank": "int32",
    "confidence": "float32",
    "loss": "float32",
}
"""The columns of a record file and their dtypes.

`rank` counts the classes scored above the label, `confidence` is the softmax of the prediction, `loss` the
cross-entropy in nats.
"""
