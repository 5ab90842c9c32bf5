"""The statistical promise: a race that only rejects, finalists named beforehand, certificates at fixed n, and a ledger."""

from farthing.certification.certify import certify as certify
from farthing.certification.finalists import certify_finalists as certify_finalists
from farthing.certification.finalists import items_needed as items_needed
from farthing.certification.finalists import name_finalists as name_finalists
from farthing.certification.ledger import Ledger as Ledger
from farthing.certification.race import Race as Race
