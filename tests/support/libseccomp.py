"""Filters that libseccomp makes, as runc asks it: a line of JSON in, a line out.

in:  {"native": "x86_64", "profile": {...}, "optimize": true}
out: {"filter": "hex of struct sock_filter[]"} or {"error": "..."}
"""
import errno
import json
import os
import signal
import sys

import seccomp

OPS = {"NE": seccomp.NE, "LT": seccomp.LT, "LE": seccomp.LE, "EQ": seccomp.EQ, "GE": seccomp.GE, "GT": seccomp.GT,
       "MASKED_EQ": seccomp.MASKED_EQ}
PLAIN = {"KILL": seccomp.KILL, "KILL_THREAD": seccomp.KILL, "KILL_PROCESS": seccomp.KILL_PROCESS,
         "TRAP": seccomp.TRAP, "ALLOW": seccomp.ALLOW, "LOG": seccomp.LOG, "NOTIFY": seccomp.NOTIFY}


def action(name, data):
    name = name.removeprefix("SCMP_ACT_")
    if name == "ERRNO":
        return seccomp.ERRNO(errno.EPERM if data is None else data)
    if name == "TRACE":
        return seccomp.TRACE(errno.EPERM if data is None else data)
    return PLAIN[name]


def argument(condition):
    op = OPS[condition["op"].removeprefix("SCMP_CMP_")]
    if op == seccomp.MASKED_EQ:
        return seccomp.Arg(condition["index"], op, condition["value"], condition.get("valueTwo", 0))
    return seccomp.Arg(condition["index"], op, condition["value"])


def export(job):
    profile = job["profile"]
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    rules = seccomp.SyscallFilter(default)
    native = job["native"]
    if native != "x86_64":
        rules.remove_arch(seccomp.Arch("x86_64"))
        rules.add_arch(seccomp.Arch(native))
    for name in profile.get("architectures", []):
        arch = seccomp.Arch(name.removeprefix("SCMP_ARCH_").lower())
        if not rules.exist_arch(arch):
            rules.add_arch(arch)
    if job.get("optimize"):
        rules.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)
    for rule in profile.get("syscalls", []):
        act = action(rule["action"], rule.get("errnoRet"))
        if act == default:
            continue
        arguments = [argument(condition) for condition in rule.get("args", [])]
        indices = [condition["index"] for condition in rule.get("args", [])]
        for name in rule["names"]:
            number = seccomp.resolve_syscall(seccomp.Arch("x86_64"), name)
            if number == -1:
                continue
            if len(set(indices)) < len(indices):
                for one in arguments:
                    rules.add_rule(act, number, one)
            else:
                rules.add_rule(act, number, *arguments)
    with open(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read().hex()


# On some profiles libseccomp does not come to an end: a second of work on one ends the process.
signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
for line in sys.stdin:
    signal.setitimer(signal.ITIMER_VIRTUAL, 1)
    try:
        answer = {"filter": export(json.loads(line))}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
