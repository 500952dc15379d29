"""How tests cut a clip: random partitions that hypothesis draws."""

from hypothesis import strategies as st


def partitions(total: int, largest: int) -> st.SearchStrategy[list[int]]:
    """Lists of positive sizes that add up to `total`."""

    @st.composite
    def draw_sizes(draw: st.DrawFn) -> list[int]:
        sizes: list[int] = []
        while (rest := total - sum(sizes)) > 0:
            sizes.append(draw(st.integers(1, min(largest, rest))))
        return sizes

    return draw_sizes()
