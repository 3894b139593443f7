"""Average precision of detectors as COCO defines it, in a form that a bootstrap over images can weigh again.

`matching` says which detection finds which object, once for a cell; `precision` turns that into numbers under any
weighting of the images. pycocotools is the definition: with every image weighing one, the numbers are its numbers.
"""
