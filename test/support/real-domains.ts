// Starts real QEMUs for domains, with the files that they need, and queries them.

import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as z from "zod/mini";
import { parseDomain } from "../../src/drivers/domain-xml/domain.js";
import { type BuiltQemu, buildQemu } from "../../src/drivers/domain-xml/qemu-args/build.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import type { Json } from "../../src/drivers/qemu/monitor/codec.js";
import { QemuProcess } from "../../src/drivers/qemu/process/process.js";
import { noKvm } from "./domains.js";
import { patienceMs } from "./patience.js";
import { plausibleFiles } from "./plausible.js";

export type Ask = <R>(type: z.ZodMiniType<R>, command: string, args?: { [key: string]: Json }) => Promise<R>;

export interface Images {
  readonly directory: string;
  /** Replaces `/img` in the XML by the images' own directory. */
  in(xml: string): string;
  remove(): void;
}

export const mebibyte = 2 ** 20;

/** Creates the files that the cases refer to. */
export async function makeImages(): Promise<Images> {
  const directory = mkdtempSync(join(tmpdir(), "img-"));
  const at = (name: string) => join(directory, name);
  for (const plausibleFile of ["raw", "raw2", "iso", "initrd", ...plausibleFiles])
    writeFileSync(at(plausibleFile), Buffer.alloc(mebibyte));
  writeFileSync(at("kernel"), emptyKernel());
  writeFileSync(at("vars"), Buffer.alloc(mebibyte / 4, 0xff));
  copyFileSync("/usr/share/seabios/bios-256k.bin", at("bios"));
  await makeQcow2(at("qcow2"));
  return {
    directory,
    in: (xml) => xml.replaceAll("/img/", `${directory}/`),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** An empty image that QEMU accepts as a Linux kernel (its boot protocol, 2.12). */
function emptyKernel(): Buffer {
  const image = Buffer.alloc(mebibyte);
  image.writeUInt8(1, 0x1f1);
  image.write("HdrS", 0x202);
  image.writeUInt16LE(0x20c, 0x206);
  image.writeUInt8(1, 0x211);
  image.writeUInt32LE(0x7fffffff, 0x22c);
  return image;
}

/** Created by QEMU itself, so that the tests need no other program. */
async function makeQcow2(path: string): Promise<void> {
  writeFileSync(path, "");
  const args = ["-machine", "none", "-nodefaults", "-display", "none"];
  await asking({ spec: { name: "images", uuid: crypto.randomUUID(), args }, sideArgs: [] }, async (ask) => {
    const file = { driver: "file", "node-name": "file", filename: path };
    await ask(z.unknown(), "blockdev-add", file);
    const options = { driver: "qcow2", file: "file", size: mebibyte };
    await ask(z.unknown(), "blockdev-create", { "job-id": "make", options });
    const job = z.array(z.looseObject({ status: z.string(), error: z.optional(z.string()) }));
    for (;;) {
      const [made] = await ask(job, "query-jobs");
      if (made?.error !== undefined) throw new Error(made.error);
      if (made?.status === "concluded") return;
    }
  });
}

/** Starts the QEMU, paused, for the duration of the callback. */
export async function asking<T>(
  { spec, sideArgs }: BuiltQemu,
  questions: (ask: Ask) => Promise<T>,
): Promise<T> {
  const qemu = await QemuProcess.start(spec, { clock: systemClock, sideArgs: [...sideArgs, "-S"] });
  try {
    return await questions(async (type, command, args = {}) =>
      z.parse(type, await qemu.main.session.execute(command, args, { limitMs: patienceMs, oob: false })),
    );
  } finally {
    qemu.signal("SIGKILL");
    await qemu.exited;
  }
}

/** Returns the domain in the form that starts on a host without KVM. */
export const qemuOf = (xml: string, directory: string): BuiltQemu =>
  buildQemu(parseDomain(xml), { kvm: noKvm, directory });
