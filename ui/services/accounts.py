"""Accounts of the Hugging Face Hub, for `ui.auth`: the service layer re-exports what it needs of `ctm.stores`."""

from ctm.stores.accounts import Accounts
from ctm.stores.base import StoreUnavailable

__all__ = ["Accounts", "StoreUnavailable"]
