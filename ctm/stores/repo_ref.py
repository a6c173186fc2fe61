"""Names of checkpoints on the Hub: `namespace/name[@revision][:subfolder]`."""

import re
from dataclasses import dataclass, replace

from ctm.settings import short

PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
FORM = re.compile(
    rf"(?P<repo>{PART}/{PART})(?:@(?P<revision>\w[\w./-]{{0,127}}))?(?::(?P<subfolder>\w[\w./ -]{{0,199}}))?"
)
ADDRESS = re.compile(r"\A(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hub:|hf://)")
LONGEST = 255  # bytes of a folder's name, on most disks
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubName:
    repo: str
    revision: str | None = None  # branch, tag or commit; None for the main branch
    subfolder: str = ""

    @classmethod
    def read(cls, text: str) -> "HubName":
        """Read a name as a person gives it; a pasted address of the Hub's page is one, too.

        Raises:
            ValueError: it is none.
        """
        bare = ADDRESS.sub("", str(text).strip()).rstrip("/ ")
        bare = re.sub(r"^([^/]+/[^/@:]+)/(?:tree|commit)/([^/]+)$", r"\1@\2", bare)
        found = FORM.fullmatch(bare)
        if not found or "--" in found["repo"] or ".." in bare or found["repo"].endswith(".git"):
            raise ValueError(
                f"A model on the Hub is named namespace/name, with @revision and :subfolder if needed: got {short(bare)}."
            )
        revision = found["revision"]
        if revision and not all(part.strip(".") for part in revision.split("/")):
            raise ValueError(f"The revision {short(revision)} is not the name of a branch, a tag or a commit.")
        subfolder = (found["subfolder"] or "").strip("/")
        if any(not part.strip(". ") or len(part.encode()) > LONGEST for part in subfolder.split("/") if subfolder):
            raise ValueError(f"The subfolder {short(subfolder)} must be a plain path inside the repository.")
        return cls(found["repo"], revision, subfolder)

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return bool(self.revision and COMMIT.fullmatch(self.revision))

    def at(self, revision: str | None) -> "HubName":
        return replace(self, revision=revision)

    def inside(self, file: str) -> str:
        """Path of a checkpoint's file in the repository."""
        return f"{self.subfolder}/{file}" if self.subfolder else file

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision + (f":{self.subfolder}" if self.subfolder else "")
