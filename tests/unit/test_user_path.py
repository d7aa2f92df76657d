from __future__ import annotations

from pathlib import Path

import pytest

from core.config import data_paths
from core.errors import UserError
from core.user_path import user_path


def test_a_path_is_absolute_whether_it_exists_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert user_path(Path("a/../b")) == tmp_path.resolve() / "b"
    assert user_path(Path("~")) == Path.home().resolve()


@pytest.mark.parametrize("name", ["a\0b", "~no-such-user-here/x", "/" + "a" * 5_000])
def test_what_no_path_can_be_is_one_short_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="cannot be used") as caught:
        user_path(Path(name))
    assert len(caught.value.message) < 250
    assert caught.value.message.endswith(".")
    assert "\0" not in caught.value.message
    with pytest.raises(UserError, match="cannot be used"):
        data_paths(Path(name))


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="cannot be used"):
        user_path(tmp_path / "loop")
