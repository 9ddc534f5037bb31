"""Every operator that TensorFlow registers is allowed or refused on purpose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from tensorflow.core.framework import op_def_pb2

from attnexport.exporter.programs.operators import ALLOWED, CONDITIONAL, READ_TABLE, RESTORE, SAVE, is_allowed
from tests.forks import ForkedPython

# Why an operator is not on the list, with the names or patterns of those that this is true of.
REFUSED: Mapping[str, str] = {
    "only graph optimizers and runtimes write these, and a graph that holds one does not load": "_.*",
    "opens files": """
        ReadFile WriteFile MatchingFiles WholeFileReader(V2)? TextLineReader(V2)? FixedLengthRecordReader(V2)?
        TFRecordReader(V2)? IdentityReader(V2)? LMDBReader Reader.*(V2)? RecordInput ImmutableConst LoadAndRemapMatrix
        GenerateVocabRemapping Skipgram NegTrain DumpTensor CalibrationStatisticsSaver DTensorRestoreV2 ImportEvent
        Create\\w+Writer SummaryWriter (Close|Flush)SummaryWriter Write\\w*Summary DistributedSave
    """,
    "sends what it computes to files or servers that attributes name": "Debug.* Copy CopyHost",
    "reaches another process, or waits for one": """
        Rpc.* DeleteRpcFutureResource RemoteCall Send Recv Collective.* Nccl.* WorkerHeartbeat GetDeadline
        FileSystemSetConfiguration
    """,
    "a part of tf.data, which reads and writes files and runs threads": """
        .*Dataset.* .*Iterator.* .*(MemoryCache|SeedGenerator) DummyIterationCounter GetElementAtIndex GetOptions
        MapDefun WindowOp (Unc|C)ompressElement ComputeBatchSize CheckPinned (Experimental)?StatsAggregator\\w*
        (Experimental)?ThreadPoolHandle
    """,
    "calls code that is not in the graph": """
        PyFunc(Stateless)? EagerPyFunc XlaCallModule XlaCustomCall(V2)? XlaHostCompute XlaLaunch(V2)? XlaClusterOutput
        MlirPassthroughOp
    """,
    "ends or delays the process": "Abort SleepOp SleepIdentityOp",
    "waits for what another call does": """
        .*Queue.* Barrier.* Stage StageClear StagePeek StageSize Unstage
        (Ordered)?Map(Stage|Peek|Size|Clear|IncompleteSize|Unstage|UnstageNoKey)
        .*Accumulator.* Batch BatchFunction Unbatch(Grad)? MutexV2 MutexLock ConsumeMutexLock SyncDevice
    """,
    "returns or changes memory that it does not own": "Empty TemporaryVariable DestroyTemporaryVariable Inplace.*",
    "keeps values for other calls, by handles that a request could hold": """
        GetSessionHandle(V2)? GetSessionTensor DeleteSessionTensor MakeWeakResourceHandle \\w*Sparse(To|From)TensorsMap
    """,
    "is for TPUs or several devices, which this has not": """
        .*(TPU|Tpu|Sparsecore|SparseCore|Dedup|Minibatch|Infeed|Outfeed|Prelinearize).* DTensor.* CopyToMesh(Grad)?
        Relayout(Like)? AllToAll CrossReplicaSum XlaSparse.* XlaAllReduce XlaReduceScatter XlaReplicaId XlaSend.*
        XlaRecv.* XlaConcatND XlaSplitND ReadVariableXlaSplitND AssignVariableXlaConcatND ConvertToCooTensor
        KthOrderStatistic GlobalIterId UpdateTaskIdAndGlobalCoreArray CollectivePermute
    """,
    "is for training alone, by kernels that nothing needs where it is served": "BoostedTrees.* IsBoostedTrees.* Sdca.*",
    "has no kernel, or none beside quantization's own": "Risc.* CustomAggregator",
    "is one of TensorFlow's own tests": """
        A B Attr\\w* Binary ComplexStruct ConstructionFails CopyOp DefaultAttrs DevicePlacementOp DtypeWithDefaultOp
        Fact FiveFloatOutputs Float\\w+put Float\\w+Output Foo[123] Func\\w*Attr GraphDefVersion InPolymorphicTwice
        Int\\w*(Attr|Input|Output) IsTensorFloat32Enabled KernelLabel\\w* List(Input|Output) MixedStruct
        N\\w+(Twice|In|Out) NInTwoTypeVariables NIntsOutDefault NPolymorphic\\w+ Namespace>TestStringOutput None Old
        Op\\w+DefaultAttr Out\\w+ Polymorphic\\w* Ref(In|Out)\\w* RequiresOlderGraphVersion Reserved\\w+
        Resource(Create|Using|Initialized)\\w* Restrict Simple\\w* StringListAttr StubResourceHandleOp Test\\w+ Two\\w+
        TypeList\\w* Unary
    """,
}
DECIDED = {reason: re.compile("|".join(f"(?:{each})" for each in names.split())) for reason, names in REFUSED.items()}


LIST = """
import sys
from pathlib import Path
from tensorflow.python.client import pywrap_tf_session
Path(sys.argv[1]).write_bytes(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
"""


@pytest.fixture(scope="module")
def registered(forks: ForkedPython, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The definition of every operator in TensorFlow, without those that tests have registered in this process."""
    file = tmp_path_factory.mktemp("operators") / "all"
    assert forks.run(LIST, str(file), cwd=file.parent).returncode == 0
    operators = op_def_pb2.OpList.FromString(file.read_bytes())
    return {each.name: each for each in operators.op}


def test_every_registered_operator_is_decided(registered: dict[str, Any]) -> None:
    """Another TensorFlow's new ones are refused until somebody has looked at their kernels."""
    listed = ALLOWED | SAVE | RESTORE | READ_TABLE | CONDITIONAL.keys()
    undecided = [
        name
        for name in sorted(registered.keys() - listed)
        if not any(pattern.fullmatch(name) for pattern in DECIDED.values())
    ]
    assert undecided == []


def test_nothing_is_both_allowed_and_refused_or_unknown(registered: dict[str, Any]) -> None:
    """A pattern of the refused that matches an allowed operator would hide a mistake of one or the other."""
    both = {name: reason for name in ALLOWED for reason, pattern in DECIDED.items() if pattern.fullmatch(name)}
    assert both == {}
    assert sorted(ALLOWED - registered.keys()) == []
    assert not ALLOWED & (SAVE | RESTORE | READ_TABLE | CONDITIONAL.keys())


def test_saving_and_restoring_never_run_by_themselves(registered: dict[str, Any]) -> None:
    """TensorFlow evaluates stateless operators already while it imports a graph."""
    assert all(registered[name].is_stateful for name in SAVE | RESTORE)


def test_allowed_operators_name_no_files(registered: dict[str, Any]) -> None:
    """By their attributes' and inputs' names; those that look so and are none have been looked at."""
    words = re.compile(r"file|path|dir|url|address|server|library|target|source", re.IGNORECASE)
    harmless = {"recall_target", "resource", "top_paths", "direction", "targets", "source"}
    found = sorted(
        f"{name}.{each.name}"
        for name in ALLOWED
        for each in (*registered[name].attr, *registered[name].input_arg)
        if words.search(each.name) and each.name not in harmless
    )
    assert found == []


@pytest.mark.parametrize(
    ("operator", "attribute", "value", "allowed"),
    [
        ("PrintV2", "output_stream", b"stderr", True),
        ("PrintV2", "output_stream", b"log(info)", True),
        ("PrintV2", "output_stream", b"file:///home/user/.bashrc", False),
        ("DecodeProtoV2", "descriptor_source", b"local://", True),
        ("DecodeProtoV2", "descriptor_source", b"bytes://\n\x00", True),
        ("EncodeProto", "descriptor_source", b"/etc/passwd", False),
        ("FixedUnigramCandidateSampler", "vocab_file", b"", True),
        ("FixedUnigramCandidateSampler", "vocab_file", b"/etc/passwd", False),
    ],
)
def test_some_are_allowed_while_an_attribute_names_no_file(
    registered: dict[str, Any], operator: str, attribute: str, value: bytes, allowed: bool
) -> None:
    from tensorflow.core.framework import node_def_pb2

    assert attribute in {each.name for each in registered[operator].attr}
    node = node_def_pb2.NodeDef(op=operator)
    assert is_allowed(operator, node.attr), "its default names none"
    node.attr[attribute].s = value
    assert is_allowed(operator, node.attr) is allowed
