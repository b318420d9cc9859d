"""The n-th largest of many values by radix selection, without a sort."""

import paddle

SHIFTS = (20, 10, 0)  # a float32 that is not negative has 31 bits: digits of 11, 10 and 10


def nth_largest(values: paddle.Tensor, n: int) -> paddle.Tensor:
    """The n-th largest value, [1] float32, exactly; the host does not wait for the device.

    Floats that are not negative have the order of their bit patterns as integers. A histogram of the leading bits gives
    those of the n-th largest value, a histogram of the next bits among the values that share them the next, and so on.

    Args:
        values: [P] float32, at least 0; negative ones count as 0.
        n: 1 for the largest, P for the smallest.
    """
    patterns = values.view("int32").clip(min=0)
    rank = paddle.full([1], values.shape[0] - n + 1, "int64")  # from the smallest, among those with the bits found
    leading, width = None, 31
    for shift in SHIFTS:
        digits = 2 ** (width - shift)
        digit = patterns.floor_divide(paddle.full([1], 2**shift, "int32")) if shift else patterns
        if leading is not None:
            leading = leading * digits
            digit = digit - leading
        # A histogram's last bin includes its upper end, hence one more bin, which is dropped.
        counts = paddle.histogram(digit, digits + 1, 0, digits + 1)[:digits]
        at_most = counts.cumsum(0)
        found = (at_most < rank).astype("int64").sum(0, keepdim=True)
        rank = rank - (at_most - counts).gather(found)
        found = found.astype("int32")
        leading = found if leading is None else leading + found
        width = shift
    return leading.view("float32")
