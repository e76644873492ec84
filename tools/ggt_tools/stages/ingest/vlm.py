"""ingest --classes vlm: a vision-language model names the class of each photograph whose class nothing states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ggt_format.schema import Image
from ggt_tools.events import Events
from ggt_tools.providers.recording import open_calls
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.providers.vlm import VLM, Classified, classify_by_vlm
from ggt_tools.records import Photo, PhotoClass, Refusal
from ggt_tools.stages.ingest import ImportedPhoto, classify_by_measuring
from ggt_tools.workspace.ledger import Ledger

QUESTION_VERSION = "vlm-1"
PHOTOS_PER_CALL = 4  # photographs, for each simultaneous call, that are asked about before the next are decoded


def leave_class_open(pixels: Image) -> tuple[str, tuple[str, ...]]:
    """Return no class: `VlmClasses` asks for it afterwards. A `PhotoOptions.classify`."""
    return "", ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassQuestion:
    """A photograph whose class is asked for.

    Attributes:
        id: Key of the photograph.
        pixels: uint8 RGB (height, width, 3).
    """

    id: str
    pixels: Image


@dataclass(slots=True, kw_only=True)
class VlmClasses:
    """Asks a model for the classes of photographs, once for each photograph, ever.

    Attributes:
        ledger: Where answers and calls are stored.
        model: The model.
        service: How it is called, and what that may cost.
        limit: Ask about at most this many photographs.
        events: Receives warnings.
    """

    ledger: Ledger
    model: VLM
    service: ServiceConfig
    limit: int | None
    events: Events
    _answers: dict[str, PhotoClass] = field(init=False)
    _version: str = field(init=False)

    def __post_init__(self) -> None:
        self._version = f"{QUESTION_VERSION} {self.model.model}"
        self._answers = {fact.key: fact for fact in self.ledger.all(PhotoClass) if fact.version == self._version}

    def name(self, results: Iterable[ImportedPhoto | Refusal]) -> Iterator[ImportedPhoto | Refusal]:
        """Yield what ingest made of each file, with the model's class where the class was left open.

        Where the model refuses or its reply cannot be used, the class is measured. Where it cannot be reached, the
        photograph is rejected with `no_class`, and the next run asks again.
        """
        chunk_size = PHOTOS_PER_CALL * self.service.call_config(is_remote=True).in_flight
        for chunk in _chunks(results, chunk_size, self.limit):
            photos = [result for result in chunk if not isinstance(result, Refusal)]
            faults = self._ask([p for p in photos if not p.photo.degradation and p.photo.key not in self._answers])
            for result in chunk:
                if isinstance(result, Refusal) or result.photo.degradation:
                    yield result
                elif result.photo.key in self._answers:
                    yield result._replace(photo=_with_classes(result.photo, self._answers[result.photo.key]))
                else:
                    file = result.photo.file
                    detail = f"{file}: {faults[result.photo.key]}. Run ingest again."
                    yield Refusal(file=file, reason="no_class", detail=detail)

    def _ask(self, photos: Sequence[ImportedPhoto]) -> dict[str, str]:
        """Ask about photographs and store the answers. Return by key why there is no answer."""
        files = {item.photo.key: item.photo.file for item in photos}
        faults: dict[str, str] = {}
        calls = open_calls(
            self._classify,
            ledger=self.ledger,
            service=self.service,
            stage="ingest",
            model=self.model.model,
        )
        questions = [ClassQuestion(id=item.photo.key, pixels=item.pixels) for item in photos]
        for ended_calls in calls.perform(questions):
            for ended in ended_calls:
                key = ended.work.id
                if ended.answer is not None:
                    self._store_answer(key, ended.answer.degradations)
                elif ended.is_final and ended.call.outcome in ("refused", "bad_reply"):
                    self.events.warning(f"{files[key]}: key {key}: {ended.call.detail}. The class is measured instead.")
                    name, seen = classify_by_measuring(ended.work.pixels)
                    self._store_answer(key, (name, *(other for other in seen if other != name)))
                elif ended.is_final:
                    faults[key] = ended.call.detail
            self.ledger.add(*(ended.call for ended in ended_calls))
        return faults

    def _classify(self, question: ClassQuestion) -> Classified:
        return classify_by_vlm(self.model, question.pixels)

    def _store_answer(self, key: str, degradations: tuple[str, ...]) -> None:
        self._answers[key] = PhotoClass(key=key, version=self._version, degradations=degradations)
        self.ledger.add(self._answers[key])


def _with_classes(photo: Photo, fact: PhotoClass) -> Photo:
    return replace(photo, degradation=fact.degradations[0], degradations=fact.degradations)


def _chunks(
    results: Iterable[ImportedPhoto | Refusal], size: int, limit: int | None
) -> Iterator[list[ImportedPhoto | Refusal]]:
    """Split the results into lists of at most `size`, with no more than `limit` photographs in all of them."""
    chunk: list[ImportedPhoto | Refusal] = []
    photo_count = 0
    for result in results:
        chunk.append(result)
        photo_count += not isinstance(result, Refusal)
        if len(chunk) == size or photo_count == limit:
            yield chunk
            chunk = []
        if photo_count == limit:
            return
    if chunk:
        yield chunk
