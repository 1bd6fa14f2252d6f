import { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod/mini";
import { checkCompatibility } from "../../../src/drivers/domain-xml/checks/compatibility.js";
import { parseDomain } from "../../../src/drivers/domain-xml/domain.js";
import { launchGuest, migrate, type RunningGuest } from "../../../src/index.js";
import { checkContinuity, describeContinuity } from "../../../src/proof-guest/continuity.js";
import { buildFirmware, proofGuestOptions } from "../../../src/proof-guest/firmware.js";
import { uuid as defaultUuid, domainXml } from "../../support/domains.js";
import { patienceMs } from "../../support/patience.js";
import { qemusOf } from "../../support/qemus-of.js";
import { type Images, makeImages, qemuOf } from "../../support/real-domains.js";

/** A separate name: the QEMUs of other tests, which run at the same time, are not counted. */
const uuid = "0d8d0a1e-53b6-4c11-9f30-0d6c1b9d1a52";
const proof = proofGuestOptions({ memoryKiB: 65_544, workingSetMiB: 4, dirtyMiBps: 8 });
let images: Images;
beforeAll(async () => {
  images = await makeImages();
  writeFileSync(join(images.directory, "proof"), buildFirmware(proof));
});
afterAll(() => {
  for (const pid of qemusOf(uuid)) process.kill(pid, "SIGKILL");
  images.remove();
});

/** The proof guest with nearly all supported devices; `side` names the host's resources. */
const everything = (machine: string, side: string) =>
  images.in(
    domainXml({
      machine,
      os: `<loader type='rom'>/img/${side === "b" ? "proof-b" : "proof"}</loader>`,
      more: "<features><acpi/></features><vcpu>2</vcpu><cpu mode='custom'><model>qemu64</model><feature policy='disable' name='svm'/></cpu>",
      devices: `<controller type='scsi' model='virtio-scsi'/>
        <disk type='file'><driver type='qcow2' cache='none'/><source file='/img/qcow2'/><target dev='vda'/><serial>A</serial></disk>
        <disk type='file'><driver cache='none'/><source file='/img/raw'/><target dev='sda'/></disk>
        <disk type='file' device='cdrom'><target dev='${machine === "pc" ? "hda" : "sdb' bus='sata"}'/></disk>
        <interface type='user'><model type='virtio'/></interface><interface type='user'><model type='e1000'/></interface>
        <serial type='file'><source path='/img/${side}.serial'/></serial>
        <channel type='unix'><source path='/img/${side}.agent'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <graphics type='vnc' socket='/img/${side}.vnc'/><video><model type='vga'/></video>
        <input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/>
        <rng model='virtio'><backend model='random'>${side === "a" ? "/dev/urandom" : "/dev/random"}</backend></rng>`,
    }).replace(defaultUuid, uuid),
  );

const streams = () =>
  ["a", "b"].map((name) => ({ name, bytes: readFileSync(join(images.directory, `${name}.serial`)) }));

async function untilWritten(side: string, more: number): Promise<void> {
  const path = join(images.directory, `${side}.serial`);
  const size = () => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const enough = size() + more;
  while (size() < enough) await new Promise((resolve) => setTimeout(resolve, 10));
}

const children = z.array(z.looseObject({ name: z.string(), type: z.string() }));
async function hardwareOf({ process: { main } }: RunningGuest): Promise<string[]> {
  const answer = await main.session.execute(
    "qom-list",
    { path: "/machine/peripheral" },
    { limitMs: patienceMs },
  );
  return z.parse(children, answer).map(({ name, type }) => `${name} ${type}`);
}

describe.each(["pc", "q35"])("a guest of a domain on %s", (machine) => {
  test("moves into the QEMU of a domain with the permitted differences", async () => {
    copyFileSync(join(images.directory, "proof"), join(images.directory, "proof-b"));
    const [a, b] = [parseDomain(everything(machine, "a")), parseDomain(everything(machine, "b"))];
    expect(checkCompatibility({ source: a, destination: b, sameHost: true })).toEqual([]);
    const [source, destination] = [qemuOf(a.xml, images.directory), qemuOf(b.xml, images.directory)];
    expect(source.spec).toEqual(destination.spec);
    expect(source.sideArgs).not.toEqual(destination.sideArgs);

    const guest = await launchGuest(source.spec, { sideArgs: source.sideArgs });
    await untilWritten("a", 1024);
    const before = await hardwareOf(guest);
    expect(before.length).toBeGreaterThan(12);
    const outcome = await migrate({ guest, destination: { sideArgs: destination.sideArgs } }).outcome;
    expect(outcome).toMatchObject({ kind: "arrived", error: null });
    await untilWritten("b", 1024);
    const report = checkContinuity(streams(), proof);
    expect(report.ok, describeContinuity(report)).toBe(true);
    expect(outcome.guest && (await hardwareOf(outcome.guest))).toEqual(before);
    await outcome.guest?.end();
    expect(qemusOf(uuid)).toEqual([]);
    expect(readdirSync(images.directory)).not.toContain("a.agent");
  });
});

describe("a destination with other hardware", () => {
  test("is rejected by its XML for differences that QEMU would find only at the end, or never", async () => {
    const a = parseDomain(everything("pc", "a"));
    const other = everything("pc", "b").replace("<model type='virtio'/>", "<model type='rtl8139'/>");
    const b = parseDomain(other);
    expect(checkCompatibility({ source: a, destination: b, sameHost: true })).toMatchObject([
      { code: "guest-abi", path: "domain/devices/interface[1]/model/@type" },
    ]);
    const [source, destination] = [qemuOf(a.xml, images.directory), qemuOf(b.xml, images.directory)];
    const guest = await launchGuest(source.spec, { sideArgs: source.sideArgs });
    await untilWritten("a", 1024);
    const { sideArgs } = destination;
    const outcome = await migrate({ guest, destination: { args: destination.spec.args, sideArgs } }).outcome;
    expect(outcome.kind).toBe("stayed");
    expect(outcome.error?.message).toMatch(/e1000|rtl8139|virtio-net|0000:00/);
    await outcome.guest?.end();
  });
});
