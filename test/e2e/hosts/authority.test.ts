// Checks that all requests that run, stop or forget a guest pass through one place on a host, and that a host answers with
// evidence only (G1, G3): with two real daemons, real virsh and real QEMU.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bitsOf, toParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { readCookie } from "../../../src/drivers/libvirt/cookie/cookie.js";
import { domainStates } from "../../../src/drivers/libvirt/rpc/constants.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { idWithToken } from "../../../src/protocol/fencing-token.js";
import { inTwoHosts, whole } from "../../support/host-process.js";
import { flipBit, journalOf, stateAt, storyOf } from "../../support/host-state.js";
import { patienceMs, testLimitMs } from "../../support/patience.js";
import { programArguments } from "../../support/programs.js";
import { hangingAsItTakes, noCookie, StepByStep } from "../../support/step-by-step.js";
import { until } from "../../support/until.js";
import { hasVirsh, refusal, VirshLab } from "../../support/virsh-lab.js";

const { procedures } = remote;

/** Makes the QEMU of that side take some seconds to start, as a large guest's does. */
function slow(lab: VirshLab, side: string, seconds = 2): (xml: string) => string {
  const path = join(lab.a.process.directory, `slow-${side}`);
  const probes = `case "$*" in *"-machine none"*) exec qemu-system-x86_64 "$@" ;; esac`;
  writeFileSync(path, `#!/bin/sh\n${probes}\nsleep ${seconds}\nexec qemu-system-x86_64 "$@"\n`);
  chmodSync(path, 0o755);
  return (xml) => xml.replace("<devices>", `<devices><emulator>${path}</emulator>`);
}

const outcomes = async (...asked: Promise<unknown>[]) =>
  (await Promise.allSettled(asked)).map(({ status }) => status).toSorted();

describe.skipIf(!hasVirsh)("a request for a guest reserves it before anything is awaited:", () => {
  test("a migration that arrives cancels a start of the same guest that is still in progress", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    const { name } = lab.guest;
    await lab.b.virsh("define", lab.xmlFile("b"));
    await lab.a.virsh("define", lab.xmlFile("a", slow(lab, "a")));
    await lab.b.virsh("start", name);
    await lab.guest.counts("b");
    const starting = lab.a.virsh("start", name);
    await until(async () => (await lab.a.virsh("list", "--all")).includes(name));
    const migrating = lab.b.virsh("migrate", "--live", "--xml", lab.xmlFile("a"), name, lab.a.uri);
    expect(await refusal(starting)).toContain("runs on another host");
    await migrating;
    await lab.countsAt("a");
  });

  test("the second of two concurrent starts is rejected, and a killed daemon still finds the guest", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    const { name } = lab.guest;
    await lab.a.virsh("define", lab.xmlFile("a", slow(lab, "a")));
    const first = lab.a.virsh("start", name).catch(() => {});
    await until(() =>
      existsSync(join(lab.a.process.directory, "state", "running", `${lab.guest.uuid}.json`)),
    );
    expect(await refusal(lab.a.virsh("start", name))).toContain("another job is active: start");
    await until(() => spawnSync("pgrep", ["-f", `slow-a.*${lab.guest.uuid}`]).status === 0);
    await lab.a.process.kill();
    await first;
    await until(() => lab.guest.pids().length === 1);
    await lab.a.process.start();
    expect(await lab.a.virsh("domstate", name)).toBe("running");
    await lab.a.virsh("destroy", name);
    expect(lab.guest.pids()).toEqual([]);
  });

  test("a guest that is still starting can be destroyed, and none of its QEMUs is left", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    const { name } = lab.guest;
    await lab.a.virsh("define", lab.xmlFile("a", slow(lab, "a")));
    const starting = refusal(lab.a.virsh("start", name));
    await until(() =>
      existsSync(join(lab.a.process.directory, "state", "running", `${lab.guest.uuid}.json`)),
    );
    await lab.a.virsh("destroy", name);
    expect(await starting).toContain("error");
    expect(await lab.a.virsh("domstate", name)).toBe("shut off");
    expect(lab.guest.pids()).toEqual([]);
    expect(readdirSync(join(lab.a.process.directory, "state", "running"))).toEqual([]);
  });

  test("one of three domains of one name is kept when they are defined at once", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    const file = () => lab.xmlFile("a", (xml) => xml.replace(lab.guest.uuid, randomUUID()));
    const defining = [file(), file(), file()].map((path) => lab.a.virsh("define", path));
    expect(await outcomes(...defining)).toEqual(["fulfilled", "rejected", "rejected"]);
    expect((await lab.a.virsh("list", "--all", "--name")).split("\n")).toEqual([lab.guest.name]);
  });
});

describe("a host answers with evidence only:", () => {
  test("a destination whose QEMU hangs during the handover answers neither taken nor refused after a restart", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const { steps, source, there } = await hangingAsItTakes(lab);
      await lab.restart("b");
      await steps.confirm(noCookie, 1).catch(() => {});
      expect(await stateAt(lab, "a")).toBe(domainStates.paused);
      const b = await lab.rpc("b");
      await expect(b.call(procedures.domainResume, { dom: lab.dom })).rejects.toThrow("quarantined");
      expect(lab.guest.pids().toSorted()).toEqual([source, there].toSorted());
      process.kill(there, "SIGCONT");
      await lab.runsAt("b");
      expect(lab.hosts.b.takeSaid()).toContain("is quarantined");
    });
  });

  test("a source whose story is damaged neither resumes nor starts the guest that it handed over", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("perform", lab);
      await lab.hosts.a.kill();
      await steps.finish();
      flipBit(storyOf(lab, "a"));
      await lab.hosts.a.start();
      const a = await lab.redial("a").rpc();
      await expect(a.call(procedures.domainResume, { dom: lab.dom })).rejects.toThrow("quarantined");
      await expect(a.call(procedures.domainCreate, { dom: lab.dom })).rejects.toThrow("quarantined");
      const { domains } = await a.call(own.procedures.standing, null);
      expect(domains).toContain("cannot be read");
      await lab.guest.counts("b");
      await a.call(procedures.domainDestroy, { dom: lab.dom });
      await expect(a.call(procedures.domainCreate, { dom: lab.dom })).rejects.toThrow("switchover release");
      await lab.guest.counts("b");
      expect(lab.guest.pids()).toHaveLength(1);
      expect(lab.hosts.a.takeSaid()).toContain("is quarantined");
    });
  });

  test("a story that an operator has released does not affect the guest that has returned since", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const [source = 0] = lab.guest.pids();
      const steps = await StepByStep.through("perform", lab);
      await lab.hosts.a.kill();
      await steps.finish();
      process.kill(source, "SIGSTOP");
      await lab.hosts.a.start();
      const a = await lab.redial("a").rpc();
      await a.call(procedures.domainDestroy, { dom: lab.dom });
      await lab.guest.counts("b");
      await lab.peerToPeer("b", "a", "back");
      await lab.runsAt("a", "back");
      await lab.restart("a");
      await lab.runsAt("a", "back");
      const again = await lab.redial("a").rpc();
      const { domains } = await again.call(own.procedures.standing, null);
      expect(JSON.parse(domains)).toEqual([]);
      expect(lab.hosts.a.takeSaid()).toContain("is quarantined");
    });
  });

  test("a released guest that may run elsewhere is not started on this host", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const [source = 0] = lab.guest.pids();
      const steps = await StepByStep.through("perform", lab);
      await lab.hosts.a.kill();
      await steps.finish();
      flipBit(storyOf(lab, "a"));
      process.kill(source, "SIGKILL");
      await until(() => lab.guest.pids().length === 1);
      await lab.hosts.a.start();
      const a = await lab.redial("a").rpc();
      await a.call(own.procedures.release, { uuid: lab.guest.uuid });
      await expect(a.call(procedures.domainCreate, { dom: lab.dom })).rejects.toThrow("switchover release");
      await lab.guest.counts("b");
      expect(lab.guest.pids()).toHaveLength(1);
      expect(lab.hosts.a.takeSaid()).toContain("is quarantined");
    });
  });

  test("a source that lost the story of a guest that it handed over neither resumes nor starts it", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await StepByStep.through("finish", lab);
      await lab.hosts.a.kill();
      rmSync(storyOf(lab, "a"));
      await lab.hosts.a.start();
      const a = await lab.redial("a").rpc();
      await expect(a.call(procedures.domainResume, { dom: lab.dom })).rejects.toThrow("quarantined");
      await expect(a.call(procedures.domainCreate, { dom: lab.dom })).rejects.toThrow("quarantined");
      await lab.guest.counts("b");
      expect(lab.hosts.a.takeSaid()).toContain("is lost");
    });
  });

  test("a destination that lost the story of a guest neither refuses it nor ends its QEMU", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("perform", lab);
      await lab.hosts.b.kill();
      rmSync(storyOf(lab, "b"));
      await lab.hosts.b.start();
      await steps.confirm(noCookie, 1).catch(() => {});
      expect(await stateAt(lab, "a")).toBe(domainStates.paused);
      expect(lab.guest.pids()).toHaveLength(2);
      expect(lab.hosts.b.takeSaid()).toContain("is lost");
    });
  });

  test("a destination that lost its journal does not refuse a guest that it may have run", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("finish", lab);
      const b = await lab.rpc("b");
      await b.call(procedures.domainDestroy, { dom: lab.dom });
      await lab.hosts.b.kill();
      rmSync(journalOf(lab, "b"), { recursive: true });
      await lab.hosts.b.start();
      await steps.confirm(noCookie, 1).catch(() => {});
      expect(await stateAt(lab, "a")).toBe(domainStates.paused);
      expect(lab.guest.pids()).toHaveLength(1);
      const a = await lab.rpc("a");
      await expect(a.call(procedures.domainResume, { dom: lab.dom })).rejects.toThrow(
        "another job is active",
      );
    });
  });

  test("a running incoming guest proves to a host that lost its journal that it was taken", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("perform", lab);
      const presence = join(lab.hosts.b.directory, "state", "running", `${lab.guest.uuid}.json`);
      const atPrepare = readFileSync(presence);
      await steps.finish();
      await lab.hosts.b.kill();
      rmSync(journalOf(lab, "b"), { recursive: true });
      // Restores the state at the daemon's death between `cont` and its record.
      writeFileSync(presence, atPrepare);
      await lab.hosts.b.start();
      await lab.runsAt("b");
      const b = await lab.rpc("b");
      expect(await b.call(procedures.domainIsPersistent, { dom: lab.dom })).toEqual({ persistent: 1 });
      await steps.confirm(noCookie, 1).catch(() => {});
      await lab.guest.counts("b");
    });
  });
});

describe("a step belongs to one migration:", () => {
  test("a Confirm from a third party does not end the copy of a guest that was handed over", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("perform", lab);
      const stranger = await lab.redial("a").rpc();
      await expect(steps.confirm(noCookie, 0, stranger)).rejects.toThrow("names no migration");
      await expect(steps.confirm(noCookie, 1, stranger)).rejects.toThrow("names no migration");
      expect(lab.guest.pids()).toHaveLength(2);
      await steps.finish();
      await steps.confirm();
      await lab.runsAt("b");
    });
  });

  test("a Confirm without the destination's receipt makes the source ask before it ends its copy", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("perform", lab);
      // Finish was not called: the destination refuses the source that settles, and the source resumes.
      await steps.confirm(noCookie, 0);
      await lab.runsAt("a");
    });
  });

  test("a second migration that Begin refuses does not end the first", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("prepare", lab);
      const second = await (await lab.managed()).outcome;
      expect(second.kind).toBe("stayed");
      await steps.perform();
      await steps.finish();
      await steps.confirm();
      await lab.runsAt("b");
    });
  });

  test("a settle query must name the migration's guest and carry its secret", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("prepare", lab);
      const { uuid, name } = lab.guest;
      const { cookie } = readCookie(steps.cookies.begin, { name, uuid, hostUuid: "", reads: [] }) ?? {};
      const migrationId = cookie?.switchover?.migration ?? "";
      const b = await lab.rpc("b");
      const asked = { migrationId, uuid, name };
      await expect(b.call(own.procedures.settle, asked)).rejects.toThrow("secret");
      await expect(b.call(own.procedures.announcePostcopy, asked)).rejects.toThrow("secret");
      await expect(b.call(own.procedures.settle, { ...asked, uuid: randomUUID() })).rejects.toThrow(
        "belongs to another domain",
      );
      await steps.perform();
      await steps.finish();
      await steps.confirm();
      await lab.runsAt("b");
    });
  });

  test("an id with a token from the far future is rejected and blocks no later move", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const a = await lab.rpc("a");
      const move = (token: number) =>
        a.call(
          own.procedures.move,
          {
            migrationId: idWithToken(token, randomUUID().replaceAll("-", "").slice(0, 18)),
            uuid: lab.guest.uuid,
            destinationUri: lab.hosts.b.uri,
            params: [],
            flags: 1,
          },
          { deadlineMs: patienceMs },
        );
      expect((await move(Date.now() + 10 * 365 * 86_400_000)).why).toContain("ahead of this host's clock");
      await lab.peerToPeer("a", "b");
      await lab.runsAt("b");
    });
  });
});

describe("a named move that was rejected", () => {
  test("does not block a move with an older token", { timeout: testLimitMs }, async () => {
    await inTwoHosts({}, async (lab) => {
      const a = await lab.rpc("a");
      const move = (token: number) =>
        a.call(
          own.procedures.move,
          {
            migrationId: idWithToken(token, "0".repeat(18)),
            uuid: lab.guest.uuid,
            destinationUri: lab.hosts.b.uri,
            params: [],
            flags: bitsOf(whole),
          },
          { deadlineMs: patienceMs },
        );
      const steps = await StepByStep.over(lab);
      await steps.begin();
      const now = Date.now();
      expect((await move(now)).why).toContain("another job is active");
      await a.call(procedures.domainAbortJob, { dom: lab.dom });
      await until(async () => (await a.call(procedures.domainGetJobInfo, { dom: lab.dom })).type === 0);
      expect(await move(now - 60_000)).toMatchObject({ why: "" });
      await lab.runsAt("b", "a");
    });
  });
});

/** A file system of one page, which makes every write to it fail. */
const full = (directory: string) => {
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "tmpfs", directory]);
  return () => void execFileSync("umount", ["-l", directory]);
};
const noMount = process.getuid?.() === 0 ? undefined : "a full disk needs root";
if (noMount !== undefined) console.warn(`full disks are not tested: ${noMount}`);

describe.skipIf(noMount !== undefined)("a disk that is full when the guest arrives", () => {
  test("makes the destination refuse a guest when it cannot record that it takes it", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("perform", lab);
      // The story cannot grow any more, as on a full disk.
      const size = readFileSync(storyOf(lab, "b")).length;
      const limit = (most: string) =>
        execFileSync("prlimit", [`--fsize=${most}:unlimited`, "--pid", `${lab.hosts.b.pid}`]);
      limit(`${size}`);
      await expect(steps.finish()).rejects.toThrow("not be written");
      limit("unlimited");
      await steps.confirm(noCookie, 1).catch(() => {});
      await lab.runsAt("a");
      lab.hosts.b.takeSaid();
    });
  });

  test("leaves a guest running as a transient domain when its definition cannot be written, which the daemon logs", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const directory = join(lab.hosts.b.directory, "state", "domains");
      const steps = await StepByStep.through("prepare", lab);
      const free = full(directory);
      try {
        writeFileSync(join(directory, "filler"), Buffer.alloc(4096));
        await steps.perform();
        await steps.finish();
        await steps.confirm();
        await lab.runsAt("b");
        const b = await lab.rpc("b");
        expect(await b.call(procedures.domainIsPersistent, { dom: lab.dom })).toEqual({ persistent: 0 });
        expect(lab.hosts.b.takeSaid()).toContain("its definition cannot be stored");
      } finally {
        free();
      }
    });
  });
});

describe.skipIf(noMount !== undefined)("a disk that is full when the guest leaves", () => {
  test("does not make the source forget that the guest is away, even when it is about to return", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const directory = join(lab.hosts.a.directory, "state", "away");
      const free = full(directory);
      writeFileSync(join(directory, "filler"), Buffer.alloc(4096));
      const asked = {
        dom: lab.dom,
        dconnuri: lab.hosts.b.uri,
        cookieIn: noCookie,
        params: toParameters({ xml: lab.guest.xml("b") }),
        flags: bitsOf(["LIVE", "PEER2PEER", "PERSIST_DEST"]),
      };
      const patient = { deadlineMs: patienceMs };
      try {
        await (await lab.rpc("a")).call(procedures.domainMigratePerform3Params, asked, patient);
        await lab.guest.counts("b");
      } finally {
        free();
      }
      const back = lab.peerToPeer("b", "a", "back", { bandwidthMiBps: 1 }).catch(() => {});
      await until(() => lab.guest.pids().length === 2);
      await lab.restart("a");
      await back;
      await until(() => lab.guest.pids().length === 1);
      await lab.guest.counts("b");
      const a = await lab.redial("a").rpc();
      await expect(a.call(procedures.domainCreate, { dom: lab.dom })).rejects.toThrow("away");
      expect(lab.guest.pids()).toHaveLength(1);
      expect(lab.hosts.a.takeSaid()).toContain("cannot be written yet");
      lab.hosts.b.takeSaid();
    });
  });
});

describe.skipIf(!hasVirsh)("an operator can end every guest:", () => {
  test("an incoming guest is visible, and destroy ends it for good while the source keeps its copy", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    await lab.boot();
    const { name } = lab.guest;
    const migrating = refusal(lab.migrate("--live", "--bandwidth", "1", "--persistent"));
    await until(async () => (await lab.b.virsh("list", "--all")).includes(name));
    expect(await lab.b.virsh("domstate", "--reason", name)).toBe("paused (migrating)");
    expect(await lab.b.virsh("dumpxml", name)).toContain(lab.guest.uuid);
    await until(() => lab.guest.pids().length === 2);
    await lab.b.virsh("destroy", name);
    expect(await migrating).toContain("error");
    await lab.countsAt("a");
  });

  test("a guest whose client dies during Prepare can be migrated again at once", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    await lab.boot();
    const path = lab.xmlFile("b", slow(lab, "b", 2));
    const child = spawn("virsh", [
      "-c",
      lab.a.uri,
      "migrate",
      "--live",
      "--xml",
      path,
      lab.guest.name,
      lab.b.uri,
    ]);
    await until(async () => (await lab.b.virsh("list", "--all")).includes(lab.guest.name));
    child.kill("SIGKILL");
    await until(async () => !(await lab.b.virsh("list", "--all")).includes(lab.guest.name));
    await lab.migrate("--live", "--persistent");
    await lab.countsAt("b");
  });

  test("an abort before Perform is reported as an abort", { timeout: testLimitMs }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("prepare", lab);
      const a = await lab.rpc("a");
      await a.call(procedures.domainAbortJob, { dom: lab.dom });
      await expect(steps.perform()).rejects.toThrow("canceled by client");
      await steps.finish(noCookie, 1).catch(() => {});
      await lab.runsAt("a");
    });
  });
});

describe.skipIf(!hasVirsh)("a definition that stays behind is marked as away:", () => {
  test("the host that a guest left does not start it while it runs elsewhere, and starts it once it was given back", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    await lab.boot();
    const { name } = lab.guest;
    await lab.migrate("--live", "--persistent");
    await lab.countsAt("b");
    expect(await refusal(lab.a.virsh("start", name))).toContain("refuses to give it back: ");
    await lab.b.virsh("destroy", name);
    await lab.a.virsh("start", name);
    expect(await refusal(lab.b.virsh("start", name))).toContain("the guest is on this host");
    expect(lab.guest.pids()).toHaveLength(1);
  });

  test("a host that does not answer does not count as having given the guest back", {
    timeout: testLimitMs,
  }, async () => {
    const lab = await VirshLab.begin();
    await lab.boot();
    const { name, uuid } = lab.guest;
    await lab.migrate("--live", "--persistent");
    await lab.b.process.kill();
    expect(await refusal(lab.a.virsh("start", name))).toContain("switchover release");
    for (const pid of lab.guest.pids()) process.kill(pid, "SIGKILL");
    execFileSync(process.execPath, [...programArguments("switchover"), "release", name, "--at", lab.a.uri]);
    await lab.a.virsh("start", name);
    expect(lab.guest.pids()).toHaveLength(1);
    expect(uuid).not.toBe("");
  });
});
