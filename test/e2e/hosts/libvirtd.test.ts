import { execFile, execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { arrivalAt, noSteps } from "../../../src/drivers/libvirt/client/arrival.js";
import {
  bitsOf,
  type MigrateFlag,
  type MigrateParameters,
  toParameters,
} from "../../../src/drivers/libvirt/client/flags.js";
import { Redial } from "../../../src/drivers/libvirt/client/reconnecting-client.js";
import { SettlePeer } from "../../../src/drivers/libvirt/client/settle-peer.js";
import { domainStates } from "../../../src/drivers/libvirt/rpc/constants.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import type { EffectInterceptor } from "../../../src/effects/bind.js";
import type { Observation } from "../../../src/effects/trace.js";
import { migrateBetween, migrateBetweenWith } from "../../../src/library/remote/migrate-between.js";
import { unknown } from "../../../src/protocol/effect-result.js";
import { anywhere, connectionUri } from "../../../src/protocol/peer-text.js";
import { hostOf, type Peer } from "../../support/either-host.js";
import { HostProcess } from "../../support/host-process.js";
import { tiny as bare, hasLibvirtd } from "../../support/libvirtd.js";
import { patienceMs } from "../../support/patience.js";
import { qemusOf } from "../../support/qemus-of.js";
import { swallowing } from "../../support/swallowing.js";
import { until } from "../../support/until.js";

const { procedures } = remote;
/** Hostnames that do not resolve. */
const onThisMachine: MigrateParameters = { uri: "tcp://127.0.0.1" };
/** Both daemons accept it; the QEMUs of other tests, which run at the same time, are not counted. */
const uuid = randomUUID();
const tiny = { uuid, xml: bare.xml.replace(bare.uuid, uuid).replace("</domain>", "<devices/></domain>") };

async function move(
  source: Peer,
  destination: Peer,
  around?: EffectInterceptor,
  flags: readonly MigrateFlag[] = ["LIVE"],
) {
  const rpc = await source.redial.rpc();
  await rpc.call(procedures.domainCreateXml, { xmlDesc: tiny.xml, flags: 0 });
  const story: string[] = [];
  const observe = (observation: Observation) => {
    if (observation.kind === "state") story.push(observation.state);
  };
  const where = { from: source.uri, to: destination.uri, domain: "tiny" };
  const migration = await migrateBetweenWith({ ...where, flags, parameters: onThisMachine, observe }, around);
  onTestFinished(endGuests);
  return { migration, story };
}

const endGuests = () => {
  for (const pid of qemusOf(tiny.uuid)) process.kill(pid, "SIGKILL");
};

const stateAt = async (host: Peer): Promise<number | null> => {
  const rpc = await host.redial.rpc();
  const { domains } = await rpc.call(procedures.connectListAllDomains, { needResults: 1, flags: 0 });
  const dom = domains.find(({ uuid }) => uuid === tiny.uuid);
  if (dom === undefined) return null;
  return (await rpc.call(procedures.domainGetState, { dom, flags: 0 })).state;
};

describe.skipIf(!hasLibvirtd)("a managed migration", () => {
  test.each([
    ["libvirtd", "libvirtd"],
    ["libvirtd", "switchoverd"],
    ["switchoverd", "libvirtd"],
  ] as const)("from a %s to a %s arrives", async (from, to) => {
    const [source, destination] = [await hostOf(from, "hosta"), await hostOf(to, "hostb")];
    const { migration, story } = await move(source, destination);
    const outcome = await migration.outcome;
    expect(outcome.kind, outcome.error?.message).toBe("arrived");
    expect(story.at(-1)).toBe("ended");
    expect([await stateAt(source), await stateAt(destination)]).toEqual([null, domainStates.running]);
    expect(qemusOf(tiny.uuid)).toHaveLength(1);
  });
});

describe.skipIf(!hasLibvirtd)(
  "between two libvirtds, where libvirt's own client would run the guest twice",
  () => {
    const reportingLoss =
      (lost: readonly string[], settles: boolean): EffectInterceptor =>
      async (place, call) => {
        if (!lost.includes(place)) return call();
        if (settles) await call();
        return unknown("the answer was lost");
      };

    test("a lost answer to Finish leaves one copy, at the destination", async () => {
      const [source, destination] = [await hostOf("libvirtd", "hosta"), await hostOf("libvirtd", "hostb")];
      const { migration } = await move(source, destination, reportingLoss(["askFinish"], true));
      await migration.outcome;
      expect([await stateAt(source), await stateAt(destination)]).toEqual([null, domainStates.running]);
      expect(qemusOf(tiny.uuid)).toHaveLength(1);
    });

    test("a Finish that was never sent leaves one copy, at the source", async () => {
      const [source, destination] = [await hostOf("libvirtd", "hosta"), await hostOf("libvirtd", "hostb")];
      const { migration } = await move(source, destination, reportingLoss(["askFinish"], false));
      await migration.outcome;
      expect(await stateAt(source)).toBe(domainStates.running);
      // libvirtd ends the client's unfinished migrations with the client.
      await until(() => qemusOf(tiny.uuid).length === 1);
    });
  },
);

const image = (directory: string): string => {
  const path = join(directory, "disk.qcow2");
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", path, "16M"]);
  return path;
};
const withDisk = (path: string): string =>
  tiny.xml.replace(
    "<devices/>",
    `<devices><disk type='file'><driver name='qemu' type='qcow2'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk></devices>`,
  );

describe.skipIf(!hasLibvirtd)("a migration that copies a disk", () => {
  const kinds = [
    ["libvirtd", "switchoverd"],
    ["switchoverd", "libvirtd"],
  ] as const;
  const modes = ["led by virsh", "led by its source"] as const;
  test.each(kinds.flatMap(([from, to]) => modes.map((mode) => [from, to, mode] as const)))(
    "from a %s to a %s, %s, arrives with its disk",
    async (from, to, mode) => {
      const [source, destination] = [await hostOf(from, "hosta"), await hostOf(to, "hostb")];
      const [there, here] = [mkdtempSync(join(tmpdir(), "b-")), mkdtempSync(join(tmpdir(), "a-"))];
      onTestFinished(() => {
        for (const text of [there, here]) rmSync(text, { recursive: true });
      });
      const path = image(here);
      execFileSync("qemu-io", ["-f", "qcow2", "-c", "write -P 7 1M 4M", path]);
      // A libvirtd creates images only in its storage pools.
      const at = to === "libvirtd" ? image(there) : join(there, "disk.qcow2");
      const rpc = await source.redial.rpc();
      await rpc.call(procedures.domainCreateXml, { xmlDesc: withDisk(path), flags: 0 });
      onTestFinished(endGuests);
      if (mode === "led by virsh") {
        const xml = join(here, "there.xml");
        writeFileSync(xml, withDisk(at));
        const words = ["--live", "--copy-storage-all", "--migrateuri", "tcp://127.0.0.1", "--xml", xml];
        const migrate = ["-c", source.uri, "migrate", "tiny", destination.uri, ...words];
        await promisify(execFile)("virsh", migrate);
      } else {
        const migration = await migrateBetween({
          from: source.uri,
          to: destination.uri,
          domain: "tiny",
          flags: ["LIVE", "NON_SHARED_DISK", "PEER2PEER"],
          parameters: { ...onThisMachine, xml: withDisk(at) },
        });
        const { kind, error } = await migration.outcome;
        expect(kind, error?.message).toBe("arrived");
      }
      expect([await stateAt(source), await stateAt(destination)]).toEqual([null, domainStates.running]);
      endGuests();
      await until(() => qemusOf(tiny.uuid).length === 0);
      execFileSync("qemu-img", ["compare", path, at]);
    },
  );

  test("is refused with the reason when an image would have to be created for a libvirtd's incremental copy", async () => {
    const [source, destination] = [await hostOf("libvirtd", "hosta"), await hostOf("switchoverd", "hostb")];
    const directory = mkdtempSync(join(tmpdir(), "a-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const rpc = await source.redial.rpc();
    await rpc.call(procedures.domainCreateXml, { xmlDesc: withDisk(image(directory)), flags: 0 });
    onTestFinished(endGuests);
    const migration = await migrateBetween({
      from: source.uri,
      to: destination.uri,
      domain: "tiny",
      flags: ["LIVE", "NON_SHARED_INC"],
      parameters: { ...onThisMachine, xml: withDisk(join(directory, "there.qcow2")) },
    });
    const { kind, error } = await migration.outcome;
    expect(kind).toBe("stayed");
    expect(error?.message).toContain("libvirtd does not report the backing file of disk vda");
  });
});

describe.skipIf(!hasLibvirtd)("post-copy", () => {
  test.each([
    ["libvirtd", "switchoverd", "a source that hands the guest over directly", []],
    ["switchoverd", "libvirtd", "a destination that the source can ask directly", []],
    ["switchoverd", "libvirtd", "a destination that the source can ask directly", ["PEER2PEER"]],
  ] as const)("from a %s to a %s is refused: it needs %s", async (from, to, why, flags) => {
    const [source, destination] = [await hostOf(from, "hosta"), await hostOf(to, "hostb")];
    const { migration } = await move(source, destination, undefined, ["LIVE", "POSTCOPY", ...flags]);
    const { kind, error } = await migration.outcome;
    expect(kind).toBe("stayed");
    expect(error?.message).toContain(`post-copy requires ${why}, which libvirtd does not support`);
    expect(await stateAt(source)).toBe(domainStates.running);
    await until(() => qemusOf(tiny.uuid).length === 1);
  });
});

describe.skipIf(!hasLibvirtd)("a peer-to-peer migration", () => {
  test.each([
    ["libvirtd", "libvirtd"],
    ["libvirtd", "switchoverd"],
    ["switchoverd", "libvirtd"],
  ] as const)("that a %s leads to a %s arrives", async (from, to) => {
    const [source, destination] = [await hostOf(from, "hosta"), await hostOf(to, "hostb")];
    const { migration } = await move(source, destination, undefined, ["LIVE", "PEER2PEER"]);
    const { kind, error } = await migration.outcome;
    expect(kind, error?.message).toBe("arrived");
    expect([await stateAt(source), await stateAt(destination)]).toEqual([null, domainStates.running]);
    expect(qemusOf(tiny.uuid)).toHaveLength(1);
  });

  test("from a switchoverd to a libvirtd arrives, and only the incoming domain's own id proves it", async () => {
    const source = await hostOf("switchoverd", "hosta");
    const destination = await hostOf("libvirtd", "hostb");
    const rpc = await source.redial.rpc();
    const { dom } = await rpc.call(procedures.domainCreateXml, { xmlDesc: tiny.xml, flags: 0 });
    onTestFinished(endGuests);
    await rpc.call(procedures.domainMigratePerform3Params, {
      dom,
      dconnuri: destination.uri,
      params: toParameters(onThisMachine),
      cookieIn: new Uint8Array(),
      flags: bitsOf(["LIVE", "PEER2PEER"]),
    });
    expect([await stateAt(source), await stateAt(destination)]).toEqual([null, domainStates.running]);
    const there = await destination.redial.rpc();
    const { dom: arrived } = await there.call(procedures.domainLookupByUuid, { uuid: tiny.uuid });
    const identity = { migrationId: "m", uuid: tiny.uuid, name: "tiny" };
    const { signal } = new AbortController();
    const asked = (incomingId: number) =>
      arrivalAt(
        there,
        { ...noSteps(), prepare: "done", finish: "unanswered", incomingId },
        identity,
        { protocol: 3, postcopy: false },
        signal,
      );
    expect(await asked(arrived.id)).toBe("taken");
    expect(await asked(arrived.id + 1)).toBe("unknown");
    await there.call(procedures.domainDestroy, { dom: arrived });
    expect(await asked(arrived.id), "it has run there, and was ended").toBe("unknown");
    // A source whose coordinator was a client has no proof.
    const reach = { ...anywhere, certificates: true };
    const peer = new SettlePeer(systemClock, anywhere, connectionUri(destination.uri, reach));
    expect(await peer.settle(identity, signal)).toMatchObject({ kind: "unknown" });
  });

  test("whose source's daemon dies as the guest arrives at a libvirtd, and which is then shut down there, does not resume the old copy", async () => {
    const source = new HostProcess("hosta");
    onTestFinished(() => source.remove());
    await source.start();
    const destination = await hostOf("libvirtd", "hostb");
    const way = await swallowing(destination.uri, procedures.domainMigrateFinish3Params.number);
    const here = new Redial(source.uri, systemClock);
    onTestFinished(() => here.close());
    const rpc = await here.rpc();
    const { dom } = await rpc.call(procedures.domainCreateXml, { xmlDesc: tiny.xml, flags: 0 });
    onTestFinished(endGuests);
    const performing = rpc
      .call(
        procedures.domainMigratePerform3Params,
        {
          dom,
          dconnuri: way.uri,
          params: toParameters(onThisMachine),
          cookieIn: new Uint8Array(),
          flags: bitsOf(["LIVE", "PEER2PEER"]),
        },
        { deadlineMs: patienceMs },
      )
      .catch(() => {});
    await way.swallowed;
    await until(async () => (await stateAt(destination)) === domainStates.running);
    await source.kill();
    await performing;
    way.letThrough();
    const there = await destination.redial.rpc();
    const { dom: arrived } = await there.call(procedures.domainLookupByUuid, { uuid: tiny.uuid });
    await there.call(procedures.domainDestroy, { dom: arrived });
    await source.start();
    // The source has asked, and no domain of that uuid is active there.
    await until(() => way.connections() >= 2);
    const at = { uri: source.uri, redial: here };
    expect(await stateAt(at)).toBe(domainStates.paused);
    const asked = way.connections();
    await until(() => way.connections() > asked);
    expect(await stateAt(at)).toBe(domainStates.paused);
    expect(qemusOf(tiny.uuid)).toHaveLength(1);
    // Only an operator can decide.
    await (await here.rpc()).call(own.procedures.adopt, { uuid: tiny.uuid });
    expect(await stateAt(at)).toBe(domainStates.running);
  });

  test.each([
    ["libvirtd", "libvirtd", ["PEER2PEER"]],
    ["switchoverd", "libvirtd", ["PEER2PEER"]],
    ["switchoverd", "libvirtd", []],
  ] as const)("from a %s to a %s that runs a guest of that uuid stays, with %j", async (from, to, mode) => {
    const [source, destination] = [await hostOf(from, "hosta"), await hostOf(to, "hostb")];
    const there = await destination.redial.rpc();
    await there.call(procedures.domainCreateXml, { xmlDesc: tiny.xml, flags: 0 });
    const { migration } = await move(source, destination, undefined, ["LIVE", ...mode]);
    const { kind, error } = await migration.outcome;
    expect(kind).toBe("stayed");
    expect(error?.message).toMatch(/already (active|exists|running)/);
    const running = domainStates.running;
    expect([await stateAt(source), await stateAt(destination)]).toEqual([running, running]);
  });
});
