"""The project's one logger, in PaddleSeg's form: `2024-01-31 12:00:00 [INFO]\tmessage`, on standard error."""

import logging

logger = logging.getLogger("stdc_seg")
if not logger.handlers:
    _handler = logging.StreamHandler()
    _handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s]\t%(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(_handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
