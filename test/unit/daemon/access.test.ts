// A read-only connection to a real daemon, over which a test calls every procedure of every program.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { completeConfig } from "../../../src/daemon/config.js";
import { startDaemon } from "../../../src/daemon/daemon.js";
import { errorCodes, LibvirtError } from "../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { openConnection } from "../../../src/drivers/libvirt/rpc/open.js";
import { qemu, remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import type { Procedure } from "../../../src/drivers/libvirt/rpc/program.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { nothing } from "../../../src/drivers/libvirt/rpc/xdr.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { temporaryDirectory } from "../../support/rpc-pair.js";

/** Written out again, so that a procedure which moves into another class fails here until that is intended. */
const allowed: ReadonlySet<string> = new Set([
  ...["authList", "authPolkit", "connectOpen", "connectClose", "connectSupportsFeature"],
  ...["connectRegisterCloseCallback", "connectUnregisterCloseCallback"],
  ...["connectDomainEventRegisterAny", "connectDomainEventDeregisterAny"],
  ...["connectDomainEventCallbackRegisterAny", "connectDomainEventCallbackDeregisterAny"],
  ...["connectGetType", "connectGetVersion", "connectGetCapabilities", "connectGetHostname", "connectGetUri"],
  ...["connectGetLibVersion", "connectListAllDomains", "connectGetAllDomainStats", "nodeGetInfo"],
  ...["domainLookupById", "domainLookupByName", "domainLookupByUuid", "domainGetXmlDesc", "domainGetOsType"],
  ...["domainGetAutostart", "domainIsActive", "domainIsPersistent", "domainHasManagedSaveImage"],
  ...["domainGetState", "domainGetInfo", "domainGetVcpusFlags", "domainMemoryStats"],
  ...["domainGetJobInfo", "domainGetJobStats", "domainMigrateGetMaxDowntime", "domainMigrateGetMaxSpeed"],
  ...["domainMigrateGetCompressionCache", "domainGetMessages", "standing"],
]);

async function aDaemon() {
  const directory = temporaryDirectory();
  const socket = join(directory, "sock");
  const config = await completeConfig({
    hostname: "hosta",
    hostUuid: "6d0d7d25-3a0c-4a8e-9d0a-0f0a3c1b2e4d",
    stateDirectory: join(directory, "state"),
    runDirectory: join(directory, "run"),
    socket: { path: socket },
  });
  const said: string[] = [];
  const daemon = await startDaemon(config, { warn: (sentence) => said.push(sentence) });
  onTestFinished(() => daemon.stop({ deadlineMs: 0 }));
  const uri = `qemu+unix:///system?socket=${socket}`;
  const connect = async (readOnly: boolean) => {
    const connection = await openConnection(uri, { clock: systemClock, readOnly });
    onTestFinished(() => connection.close());
    return connection.rpc;
  };
  return { connect, said, state: join(directory, "state") };
}

const procedures: readonly Procedure<unknown, unknown>[] = [remote, qemu, own].flatMap(
  ({ procedures }): Procedure<unknown, unknown>[] => Object.values(procedures),
);
const files = (directory: string) => readdirSync(directory, { recursive: true }).sort();
const migration = { migrationId: "0f3f-a1", uuid: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", name: "web-1" };

describe("a read-only connection", () => {
  test("is refused every procedure except those that only read, before its arguments are decoded", async () => {
    const { connect, state } = await aDaemon();
    const rpc = await connect(true);
    const before = files(state);
    const refused: string[] = [];
    for (const procedure of procedures) {
      // Close comes last; calls have no arguments, since a refusal must not depend on any.
      if (procedure.name === "connectClose") continue;
      const bare = { ...procedure, args: nothing, ret: nothing, stream: false } as const;
      const error = await rpc.call(bare, undefined).catch((caught: unknown) => caught);
      if (error instanceof LibvirtError && error.code === errorCodes.OPERATION_DENIED) {
        expect(error.message).toBe(`operation forbidden: read only access prevents ${procedure.name}`);
        refused.push(procedure.name);
      } else if (!allowed.has(procedure.name)) {
        // Procedures that the daemon does not implement at all.
        expect(String(error), procedure.name).toMatch(/unknown procedure|Cannot find program/);
      }
    }
    expect(refused.filter((name) => allowed.has(name))).toEqual([]);
    expect(refused).toEqual(
      expect.arrayContaining([
        ...Object.keys(own.procedures).filter((name) => !allowed.has(name)),
        "domainStartDirtyRateCalc",
        "domainDestroy",
      ]),
    );
    expect(files(state)).toEqual(before);
  });

  test("cannot settle, although a read-write connection can", async () => {
    const { connect, state } = await aDaemon();
    const before = files(state);
    const rpc = await connect(true);
    const { settle, concede, handOver, announcePostcopy, reconnect } = own.procedures;
    for (const procedure of [settle, concede, handOver, announcePostcopy, reconnect])
      await expect(rpc.call({ ...procedure, ret: nothing }, migration)).rejects.toMatchObject({
        code: errorCodes.OPERATION_DENIED,
      });
    expect(files(state)).toEqual(before);
    const { decision } = await (await connect(false)).call(own.procedures.settle, migration);
    expect(decision).toBe(2);
  });

  test("stays read-only when it is opened again for writing", async () => {
    const { connect } = await aDaemon();
    const rpc = await connect(true);
    await rpc.call(remote.procedures.connectOpen, { name: "qemu:///system", flags: 0 });
    await expect(rpc.call(own.procedures.settle, migration)).rejects.toThrow("read only access");
  });

  test("does not receive secrets that only serve to start the guest elsewhere", async () => {
    const { connect } = await aDaemon();
    const xml = `<domain type='qemu'><name>web-1</name><uuid>${migration.uuid}</uuid><memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os></domain>`;
    const { dom } = await (await connect(false)).call(remote.procedures.domainDefineXml, { xml });
    const rpc = await connect(true);
    expect((await rpc.call(remote.procedures.domainGetXmlDesc, { dom, flags: 0 })).xml).toContain("web-1");
    for (const flags of [1, 8])
      await expect(rpc.call(remote.procedures.domainGetXmlDesc, { dom, flags })).rejects.toMatchObject({
        code: errorCodes.OPERATION_DENIED,
      });
  });
});
