// A real switchoverd as the destination, and a source whose text must not be run, opened or listened at.

import { randomUUID } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { mayRun, systemEmulators } from "../../../src/daemon/domains/emulators.js";
import { bitsOf, type MigrateParameters, toParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { Redial } from "../../../src/drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { HostProcess, ProofDomain } from "../../support/host-process.js";
import { testLimitMs } from "../../support/patience.js";

const { procedures } = remote;

test("an incoming guest cannot name an emulator, socket, listening address or migration that this host does not allow", {
  timeout: testLimitMs,
}, async () => {
  const guest = new ProofDomain(`guest-${randomUUID().slice(0, 8)}`);
  onTestFinished(() => guest.remove());
  const host = new HostProcess("hostb", {
    emulators: ["/usr/bin/qemu-system-*"],
    unixDirectories: ["/run/libvirt"],
  });
  onTestFinished(() => host.remove());
  await host.start();
  const redial = new Redial(host.uri, systemClock);
  onTestFinished(() => redial.close());

  const ran = join(host.directory, "ran");
  const evil = join(host.directory, "evil");
  writeFileSync(evil, `#!/bin/sh\ntouch ${ran}\n`, { mode: 0o755 });
  const naming = (emulator: string) =>
    guest.xml("b").replace("<devices>", `<devices><emulator>${emulator}</emulator>`);
  const prepare = (parameters: MigrateParameters, ...more: readonly ("NON_SHARED_DISK" | "PERSIST_DEST")[]) =>
    redial.call(procedures.domainMigratePrepare3Params, {
      params: toParameters({ xml: guest.xml("b"), ...parameters }),
      cookieIn: new Uint8Array(),
      flags: bitsOf(["LIVE", ...more]),
    });

  for (const emulator of [evil, `/usr/bin/qemu-system-/../../..${evil}`, "/bin/sh"])
    await expect(prepare({ xml: naming(emulator) })).rejects.toThrow(/emulator ".*" of domain/);
  await expect(prepare({ persistentXml: naming(evil) }, "PERSIST_DEST")).rejects.toThrow(
    /emulator ".*evil" of domain/,
  );
  await expect(redial.call(own.procedures.facts, { binary: evil, paths: [] })).rejects.toThrow(/emulator/);
  const notListening = [
    [{ listenAddress: "-x" }, /host/],
    [{ listenAddress: "0.0.0.0,to=1" }, /host/],
    [{ uri: "exec:id" }, /unsupported scheme exec/],
    [{ uri: "tcp://a,b" }, /host/],
    [{ disksUri: "unix:///etc/shadow" }, /unixDirectories/],
    [{ disksUri: "unix:///run/libvirt/../../etc/shadow" }, /must not contain empty parts/],
  ] as const;
  for (const [parameters, why] of notListening)
    await expect(prepare(parameters, "NON_SHARED_DISK"), JSON.stringify(parameters)).rejects.toThrow(why);
  for (const migrationId of ["../../x", "a/b", "", "\n"])
    await expect(
      redial.call(own.procedures.settle, { migrationId, uuid: guest.uuid, name: guest.name }),
    ).rejects.toThrow(/is not a valid migration id/);
  expect(existsSync(ran)).toBe(false);
  expect(guest.pids()).toEqual([]);
});

test("the emulators of other hosts' guests are by default the system's QEMUs", () => {
  const emulators = systemEmulators("/opt/qemu/bin:/usr/bin:relative");
  for (const path of ["/usr/bin/qemu-system-x86_64", "/opt/qemu/bin/qemu-system-aarch64", "/usr/bin/kvm"])
    expect(mayRun(emulators, path), path).toBe(true);
  for (const path of [
    ...["/usr/bin/sh", "/usr/bin/qemu-img", "relative/qemu-system-x86_64", "/tmp/qemu-system-x86_64"],
    ...["/usr/bin/qemu-system-x/evil", "/usr/bin/../bin/qemu-system-x86_64", "/usr/bin/"],
  ])
    expect(mayRun(emulators, path), path).toBe(false);
});
