"""References to checkpoints on the Hub: `namespace/name[@revision][:subfolder]`."""

import re
from dataclasses import dataclass, replace

from ctm.messages import truncate_repr

REPO_ID_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
REPO_REF_PATTERN = re.compile(
    rf"(?P<repo>{REPO_ID_PART}/{REPO_ID_PART})"
    r"(?:@(?P<revision>\w[\w./-]{0,127}))?"
    r"(?::(?P<subfolder>\w[\w./ -]{0,199}))?"
)
URL_PREFIX_PATTERN = re.compile(r"\A(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hub:|hf://)")
MAX_PATH_PART_BYTES = 255  # limit of most file systems
COMMIT_HASH_PATTERN = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubRef:
    """Repository, revision and subfolder of a checkpoint on the Hub.

    Attributes:
        repo: Repository, `namespace/name`.
        revision: Branch, tag or commit; None for the main branch.
        subfolder: Directory inside the repository; empty for the root.
    """

    repo: str
    revision: str | None = None
    subfolder: str = ""

    @classmethod
    def parse(cls, text: str) -> "HubRef":
        """Parse a reference; the address of a page on the Hub is accepted, too.

        Raises:
            ValueError: The text is not a reference.
        """
        reference = URL_PREFIX_PATTERN.sub("", str(text).strip()).rstrip("/ ")
        reference = re.sub(r"^([^/]+/[^/@:]+)/(?:tree|commit)/([^/]+)$", r"\1@\2", reference)
        match = REPO_REF_PATTERN.fullmatch(reference)
        if not match or "--" in match["repo"] or ".." in reference or match["repo"].endswith(".git"):
            raise ValueError(
                "A model on the Hub is named namespace/name, with @revision and :subfolder if needed: got "
                f"{truncate_repr(reference)}."
            )
        revision = match["revision"]
        if revision and not all(part.strip(".") for part in revision.split("/")):
            raise ValueError(f"The revision {truncate_repr(revision)} is not the name of a branch, a tag or a commit.")
        subfolder = (match["subfolder"] or "").strip("/")
        if any(
            not part.strip(". ") or len(part.encode()) > MAX_PATH_PART_BYTES
            for part in subfolder.split("/")
            if subfolder
        ):
            raise ValueError(f"The subfolder {truncate_repr(subfolder)} must be a plain path inside the repository.")
        return cls(match["repo"], revision, subfolder)

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return bool(self.revision and COMMIT_HASH_PATTERN.fullmatch(self.revision))

    def with_revision(self, revision: str | None) -> "HubRef":
        """Return the reference with another revision."""
        return replace(self, revision=revision)

    def get_path_in_repo(self, file: str) -> str:
        """Return the path of a checkpoint file in the repository."""
        return f"{self.subfolder}/{file}" if self.subfolder else file

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision + (f":{self.subfolder}" if self.subfolder else "")
