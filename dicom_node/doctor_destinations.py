"""What ``dicom-node doctor`` asks the destinations, and says of what they get."""

from collections.abc import Callable, Iterator
from functools import partial

from dicom_node.doctor import Check, Health
from dicom_node.domain.delivery import REPORT_FORMS, Proof, ResultKind
from dicom_node.domain.errors import DicomNodeError
from dicom_node.send.commitment import offers
from dicom_node.send.cstore import Peer, echo
from dicom_node.settings.listen import Listen
from dicom_node.settings.node import Settings
from dicom_node.settings.results import Destination


def destinations(settings: Settings) -> Iterator[Check]:
    """Who answers, what proof it offers, and what it gets."""
    if not settings.destinations:
        advice = "results stay here until a [[destinations]] is set"
        yield Check("destinations", Health.NOTE, "none", advice)
    for d in settings.destinations:
        peer = Peer(d.host, d.port, d.ae_title, settings.listen.ae_title)
        answers = _answer(f"PACS {d.name}", partial(echo, peer))
        yield answers
        if answers.health is Health.OK:
            yield _proof(d, peer, settings.listen)
    yield from _kinds(settings)


def _proof(destination: Destination, peer: Peer, listen: Listen) -> Check:
    """How a destination can prove that it has what it was sent."""
    what, wanted = f"proof by {destination.name}", destination.to_prove
    if wanted is Proof.NONE:
        return Check(what, Health.OK, "not asked for")
    try:
        found = offers(peer)
    except DicomNodeError as error:
        return Check(what, Health.NOTE, str(error), "what it is sent may stay unconfirmed")
    names = {Proof.COMMITMENT: "Storage Commitment", Proof.QUERY: "C-FIND"}
    takes = "takes " + (" and ".join(names[p] for p in names if p in found) or "neither proof")
    if wanted not in found:
        advice = f"let it take {names[wanted]}" + (
            "; C-FIND is asked instead" if found else ": what it is sent stays unconfirmed"
        )
        return Check(what, Health.NOTE, takes, advice)
    callers = {caller.ae_title for caller in listen.callers}
    if wanted is Proof.COMMITMENT and callers and destination.ae_title not in callers:
        advice = f"let listen.callers name {destination.ae_title}, or its reports are refused"
        return Check(what, Health.NOTE, takes, advice)
    return Check(what, Health.OK, takes)


def _kinds(settings: Settings) -> Iterator[Check]:
    """Pictures cannot say that a study was not analysed."""
    for name, kinds in settings.wanted.items():
        found = ", ".join(kind.label for kind in kinds) or "nothing"
        documents = {ResultKind.ENCAPSULATED_PDF, *REPORT_FORMS}
        if documents.intersection(kinds) or not settings.results.answered:
            yield Check(f"results for {name}", Health.OK, found)
        else:
            advice = (
                "nobody there is told of a study that was not analysed: "
                "add STRUCTURED_REPORT or ENCAPSULATED_PDF to its kinds"
            )
            yield Check(f"results for {name}", Health.NOTE, found, advice)


def _answer(what: str, ask: Callable[[], None]) -> Check:
    try:
        ask()
    except DicomNodeError as error:
        return Check(what, Health.BAD, str(error), "check host, port and AE titles with its owner")
    return Check(what, Health.OK, "answers C-ECHO")
