"""Transfer Init (CatLIP, 4.2): a target's classifier from the rows of the pre-training classifier."""

from catlipctl.transfer.initialise.account import ACCOUNT, AccountRow, account_csv, read_account
from catlipctl.transfer.initialise.calibration import Rows
from catlipctl.transfer.initialise.neighbours import Neighbours
from catlipctl.transfer.initialise.prior import prior_head, prior_rows
from catlipctl.transfer.initialise.rows import TransferredHead, transfer_init
from catlipctl.transfer.initialise.write import TransferInit, write_transfer_init

__all__ = [
    "ACCOUNT",
    "AccountRow",
    "Neighbours",
    "Rows",
    "TransferInit",
    "TransferredHead",
    "account_csv",
    "prior_head",
    "prior_rows",
    "read_account",
    "transfer_init",
    "write_transfer_init",
]
