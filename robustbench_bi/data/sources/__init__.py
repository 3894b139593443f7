"""One file a data source, or a family of them; `robustbench_bi.data.SOURCES` lists them."""
