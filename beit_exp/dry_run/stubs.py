"""Libraries that stand in for CANN: what MindSpore's Ascend plugin wants from it, exported, and
empty.

MindSpore's Linux wheel brings its whole Ascend plugin. Where CANN is missing, the plugin does not
load for want of some 1,400 functions. Here each of them is made to answer 0 (a constructor clears
its object), which is enough for MindSpore's simulation: that asks the device for nothing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from beit_exp.errors import UserError
from beit_exp.storage.files import replacing_folder
from beit_exp.storage.remote import cache_folder

KNOWN_VERSION, KNOWN_SYSTEM, KNOWN_PROCESSOR = "2.10.", "Linux", "x86_64"
TOOLS = ("gcc", "nm")
ANSWERS = "ascendcl"  # the library that holds every function
EMPTY = (  # the other libraries that the plugin is linked with, or opens by name
    *("shmem", "ge_runner", "graph", "msprofiler", "hccl", "runtime", "platform", "c_sec"),
    *("nnopbase", "ascend_hal", "acl_tdt_channel", "acl_tdt_queue", "opapi", "acl_op_compiler"),
    *("ascend_ml", "gmem", "profapi"),
)
PLUGIN = (  # of the wheel; the first three look functions up by name while they run
    "lib/plugin/libmindspore_ascend.so.2",
    "lib/plugin/libmindspore_ops_ascend.so",
    "lib/plugin/ascend/libmindspore_ascend_res_manager.so",
    "lib/plugin/ascend/libmindspore_graph_ir.so",
    "lib/plugin/ascend/libd_collective.so",
)
FUNCTIONS = r"(?:acl|[Hh]ccl|Hcom|rt|halHost|Msprof)\w{3,}"  # of CANN: those of C,
METHODS = r"_ZNK?2ge\w+"  # and those of C++, all in one namespace
WANTED = re.compile(f"{FUNCTIONS}|{METHODS}")
LOOKED_UP = re.compile(rf"(?<=\0)({FUNCTIONS})(?=\0)".encode())
PYTHON = {  # packages of CANN that MindSpore imports where there are several ranks
    "hccl/__init__.py": "",
    "hccl/sys_version.py": '__sys_version__ = "8.0"\n',
    "hccl/manage/__init__.py": "",
    "hccl/manage/api.py": (
        "def create_group(*_: object, **__: object) -> None: ...\n"
        "def destroy_group(*_: object, **__: object) -> None: ...\n"
    ),
}
# `ge::StatusFactory::Instance()` answers with a std::map, into which the plugin writes while it
# loads: an empty one as libstdc++ lays it out
STATUS_FACTORY = "_ZN2ge13StatusFactory8InstanceEv"
# A card's name decides which kernels there are: MindSpore takes it for a string, and fuses by it
SOC_NAME = "aclrtGetSocName"
CANN_VERSION = "aclsysGetCANNVersion"
OWN = (STATUS_FACTORY, SOC_NAME, CANN_VERSION)  # answer with more than 0
SOC = "BEIT_EXP_SIMULATED_SOC"
HEADER = f"""\
char *getenv(const char *);
const char *{SOC_NAME}(void) {{ const char *soc = getenv("{SOC}"); return soc ? soc : ""; }}
struct version {{ char whole[128], major[64], minor[64], release[64], patch[64], reserved[128]; }};
int {CANN_VERSION}(int package, struct version *found) {{
    *found = (struct version){{"8.2.0", "8", "2", "0", "0"}};
    return 0;
}}
struct tree {{ int color; void *parent, *first, *last; unsigned long size; }};
static struct {{ long compare; struct tree tree; }} known = {{
    .tree = {{.first = &known.tree, .last = &known.tree}}
}};
void *{STATUS_FACTORY}(void) {{ return &known; }}
#define ANSWER(name) __int128 name(void) {{ return 0; }}
#define CLEAR_2(name) void *name(void **self) {{ self[0] = self[1] = 0; return self; }}
#define CLEAR_3(name) void *name(void **self) {{ self[0] = self[1] = self[2] = 0; return self; }}
"""


def build_stubs() -> Path:
    """The folder with the libraries, in the cache; made first where they are not yet."""
    version = check_platform()
    folder = cache_folder() / f"ascend_stubs_{version}_{fingerprint()}"
    if folder.is_dir():
        return folder
    with replacing_folder(folder, is_whole=Path.is_dir) as temporary:
        write_libraries(library_folder(temporary), wanted_names(mindspore_folder()))
        for name, text in PYTHON.items():
            (temporary / "python" / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / "python" / name).write_text(text)
    return folder


def check_platform() -> str:
    """MindSpore's version, if all that the stubs are made of is known; else `UserError`."""
    version = mindspore_version()
    system, processor = platform.system(), platform.machine()
    if (system, processor) != (KNOWN_SYSTEM, KNOWN_PROCESSOR):
        raise UserError(
            f"a dry run without CANN is known on {KNOWN_SYSTEM} with {KNOWN_PROCESSOR} alone; "
            f"here are {system} and {processor}"
        )
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise UserError(
            f"a dry run without CANN makes libraries with {' and '.join(TOOLS)}, and there is no "
            f"{' and no '.join(missing)} here: install gcc and binutils (apt-get install gcc "
            "binutils)"
        )
    return version


def mindspore_version() -> str:
    """The installed version, if its dumps and its plugin are known; else `UserError`."""
    try:
        version = metadata.version("mindspore")
    except metadata.PackageNotFoundError:
        raise UserError("a dry run needs MindSpore 2.10, and there is none here") from None
    if not version.startswith(KNOWN_VERSION):
        raise UserError(f"a dry run knows MindSpore {KNOWN_VERSION}x alone; here is {version}")
    return version


def fingerprint() -> str:
    """Of the wheel's files and of this file: either may change what the stubs must hold."""
    record = metadata.distribution("mindspore").read_text("RECORD") or ""
    return hashlib.sha256(record.encode() + Path(__file__).read_bytes()).hexdigest()[:12]


def mindspore_folder() -> Path:
    """Where the package lies; it is not imported."""
    spec = find_spec("mindspore")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def library_folder(folder: Path) -> Path:
    """The place of the libraries below a folder of stubs: the plugin derives CANN's from it."""
    return folder / "cann" / "lib64"


def wanted_names(package: Path) -> list[str]:
    """What the plugin takes from CANN: undefined names, and those that it looks up as it runs."""
    plugin = [package / name for name in PLUGIN]
    own = [*plugin, *(package / "lib").glob("*.so*"), *package.glob("*.so")]
    defined = {name for path in own for name in symbols(path, "--defined-only")}
    undefined = {name for path in plugin for name in symbols(path, "--undefined-only")}
    found = {name for name in undefined if WANTED.fullmatch(name)}
    for path in plugin[:3]:
        found |= set(looked_up_names(path.read_bytes()))
    return sorted(found - defined)


def symbols(path: Path, *flags: str) -> Iterator[str]:
    """Names of a library's dynamic symbols."""
    done = subprocess.run(["nm", "-D", *flags, str(path)], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        yield line.split()[-1].partition("@")[0]


def looked_up_names(library: bytes) -> Iterator[str]:
    """Functions of CANN that a library names in its data; of an `aclnn` one there are two."""
    for found in LOOKED_UP.findall(library):
        name = found.decode()
        yield name
        if name.startswith("aclnn"):
            yield f"{name}GetWorkspaceSize"


def source_of(names: list[str]) -> str:
    """The C text that exports every name."""
    functions = [f"{_kind_of(name)}({name})" for name in names if name not in OWN]
    return HEADER + "\n".join(functions) + "\n"


def _kind_of(name: str) -> str:
    """ANSWER, or what to clear for a constructor: a shared pointer, behind a table of methods or
    not.
    """
    makes_operator = "CreateOperator" in name
    if not name.startswith("_ZN2ge") or not (makes_operator or re.search(r"C[12]E", name)):
        return "ANSWER"
    return "CLEAR_3" if makes_operator or name.startswith("_ZN2ge8OperatorC") else "CLEAR_2"


def write_libraries(target: Path, names: list[str]) -> None:
    """Compile the one library that answers, and the others, which are linked with it."""
    (target / "driver").mkdir(parents=True)
    (target.parent / "latest").mkdir()
    answers = target / f"{ANSWERS}.c"
    answers.write_text(source_of(names))
    _link(target, ANSWERS, "-w", "-O1", str(answers))
    for name in EMPTY:
        _link(target, name, "-Wl,--no-as-needed", f"-L{target}", f"-l{ANSWERS}")
    driver = target / "driver" / "libascend_hal.so"  # looked for there, too
    shutil.copy(target / "libascend_hal.so", driver)


def _link(target: Path, name: str, *inputs: str) -> None:
    file = f"lib{name}.so"
    place = ["-o", str(target / file), f"-Wl,-soname,{file}", "-Wl,-rpath,$ORIGIN"]
    # Nothing of the C library: its headers and start files need not be installed
    command = ["gcc", "-shared", "-fPIC", "-nostdlib", *place, *inputs]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"gcc cannot make {file} for a dry run:\n{done.stderr.strip()}")


def stub_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What must change in an environment for a process there to take the stubs for CANN."""
    target = library_folder(folder)
    first = [target / f"lib{name}.so" for name in (ANSWERS, "shmem")]
    python = [str(folder / "python"), environment.get("PYTHONPATH", "")]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (target, mindspore_folder() / "lib"))),
        "LD_PRELOAD": os.pathsep.join(map(str, first)),
        "PYTHONPATH": os.pathsep.join(filter(None, python)),
    }
