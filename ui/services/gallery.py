"""Gallery of the checkpoints: builds its view model and remembers which Hub models can be reached."""

import hashlib
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ctm.stores import StoreUnavailable
from ui.services.gallery_settings import read_gallery_settings
from ui.services.gallery_view_model import GROUPS, build_card, build_studies, build_unknown_card, order_cards
from ui.services.model_catalog import RUN_PREFIX, CatalogEntry, ModelCatalog, split_purpose
from ui.services.thumbnails import Thumbnails

HUB_CHECK_INTERVAL_S = 60.0
MAX_HUB_CHECKS = 4  # requests at once
THUMBNAIL_DIR = "thumbnails/"  # of the addresses, relative to the page
RECORD_SUFFIX = "-record.json"  # of the address of the whole record
NOT_DOWNLOADED = "Not downloaded"
OFFLINE = "The Hub cannot be reached now"
UNREADABLE = "Cannot be read"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubCheck:
    """What a query of the Hub gave for a model.

    Attributes:
        time_s: When it was asked, on the monotonic clock.
        entry: The model; None if it could not be described.
        is_reachable: Whether the Hub answered.
    """

    time_s: float
    entry: CatalogEntry | None
    is_reachable: bool


@dataclass(frozen=True)
class LocalCard:
    """Card of a local checkpoint, kept until a file of the checkpoint changes.

    Attributes:
        digest: Digest of the checkpoint's files, which is also that of its thumbnail.
        card: Its card.
        metrics: Contents of metrics.json.
    """

    digest: str
    card: dict[str, Any]
    metrics: dict[str, Any]


class Gallery:
    """Builds the view model of the gallery. Thread-safe.

    Args:
        catalog: Catalog of checkpoints.

    Raises:
        ValueError: gallery.yaml of the bundled checkpoints is invalid.
    """

    def __init__(self, catalog: ModelCatalog) -> None:
        self.catalog = catalog
        self.settings = read_gallery_settings(catalog.bundled_store.root)
        self.thumbnails = Thumbnails(catalog.get_verified_dir)
        self._hub_checks: dict[str, HubCheck] = {}
        self._local_cards: dict[str, LocalCard] = {}
        self._lock = threading.Lock()

    def build_view(self, include_remote: bool = True) -> dict[str, Any]:
        """Return groups, cards and findings as JSON data, with a version that changes with them. Uses no network.

        Args:
            include_remote: Whether to list Hub models that are not downloaded.
        """
        names = self.catalog.list_names()
        with self._lock:
            self._local_cards = {name: local for name, local in self._local_cards.items() if name in names}
        cards = [self._build_local_card(name) for name in names]
        if include_remote:
            cards += [self._build_remote_card(name) for name in self.catalog.list_remote()]
        view = {
            "groups": [{"name": name, "title": title} for name, title in GROUPS.items()],
            "cards": order_cards(cards, self.settings),
            "studies": build_studies(self.settings, self._get_bundled_metrics()),
        }
        return view | {"version": hashlib.sha256(json.dumps(view).encode()).hexdigest()[:16]}

    def compute_thumbnails(self) -> None:
        """Compute the demo and the thumbnails of the bundled checkpoints, one after the other, before a visitor asks for them."""
        for entry in self.list_demo():
            self.thumbnails.read(entry["record"].removeprefix(THUMBNAIL_DIR).removesuffix(RECORD_SUFFIX), is_whole=True)
        for name in self.catalog.bundled_store.list_names():
            if thumbnail := self._build_local_card(name)["thumbnail"]:
                self.thumbnails.read(thumbnail.removeprefix(THUMBNAIL_DIR).removesuffix(".json"))

    def list_demo(self) -> list[dict[str, str]]:
        """Return title and address of the record of every checkpoint whose example the landing page plays."""
        bundled = self.catalog.bundled_store.list_names()
        names = [name for name in self.settings.demo if name in bundled]
        return [
            {"title": self.get_title(name), "record": thumbnail.removesuffix(".json") + RECORD_SUFFIX}
            for name in names
            if (thumbnail := self._build_local_card(name)["thumbnail"])
        ]

    def get_title(self, name: str) -> str:
        """Return the plain name of a bundled checkpoint from gallery.yaml; empty if it has none."""
        text = self.settings.checkpoints.get(name)
        return text.title if text else ""

    def get_card(self, name: str) -> dict[str, Any] | None:
        """Return the card of a checkpoint on this computer; None if there is no such checkpoint."""
        return self._build_local_card(name) if name in self.catalog.list_names() else None

    def check_hub(self) -> None:
        """Ask the Hub about the listed models that are not downloaded; at most once a minute for each. May block for seconds."""
        now = time.monotonic()
        with self._lock:
            due = [
                name
                for name in self.catalog.list_remote()
                if name not in self._hub_checks or now - self._hub_checks[name].time_s > HUB_CHECK_INTERVAL_S
            ]
        if due:
            with ThreadPoolExecutor(MAX_HUB_CHECKS) as pool:
                checks = dict(zip(due, pool.map(self._describe_remote, due), strict=True))
            with self._lock:
                self._hub_checks |= checks

    def _describe_remote(self, name: str) -> HubCheck:
        now = time.monotonic()
        try:
            return HubCheck(now, self.catalog.describe(name), True)
        except StoreUnavailable:
            return HubCheck(now, None, False)
        except ValueError as error:
            log.warning("The Hub model %s cannot be described: %s", name, error)
            return HubCheck(now, None, True)

    def _get_bundled_metrics(self) -> dict[str, dict[str, Any]]:
        """Return metrics.json of every bundled checkpoint that has a card."""
        with self._lock:
            return {
                name: local.metrics for name, local in self._local_cards.items() if "/" not in name and ":" not in name
            }

    def _build_local_card(self, name: str) -> dict[str, Any]:
        bare, purpose = split_purpose(name)
        origin = "run" if bare.startswith(RUN_PREFIX) else "hub" if "/" in bare else "bundled"
        try:
            digest = self.thumbnails.register(self.catalog.get_local_dir(name), name, purpose)
            with self._lock:
                local = self._local_cards.get(name)
            if local is None or local.digest != digest:
                local = self._describe_local(name, origin, digest)
        except Exception as error:  # one invalid checkpoint must not hide the others
            log.warning("The checkpoint %s has no complete card: %s", name, error)
            return build_unknown_card(name, origin, UNREADABLE)
        with self._lock:
            self._local_cards[name] = local
        return local.card

    def _describe_local(self, name: str, origin: str, digest: str) -> LocalCard:
        task, metadata = self.catalog.read_local(name)
        text = self.settings.checkpoints.get(name) if origin == "bundled" else None
        card = build_card(name, origin, task, metadata["config"], metadata["metrics"], text)
        return LocalCard(digest, card | {"thumbnail": f"{THUMBNAIL_DIR}{digest}.json"}, metadata["metrics"])

    def _build_remote_card(self, name: str) -> dict[str, Any]:
        with self._lock:
            check = self._hub_checks.get(name)
        if check is None or check.entry is None:
            is_offline = check is not None and not check.is_reachable
            card = build_unknown_card(name, "hub", OFFLINE if is_offline else NOT_DOWNLOADED)
            return card | {"is_remote": True, "is_offline": is_offline}
        description = check.entry.description
        card = build_card(name, "hub", check.entry.task, description.config, description.metrics)
        return card | {"status": NOT_DOWNLOADED, "is_remote": True}
