// How a restarted engine finds the QEMU of a migration from its journal. Checks G1 and G6.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../../src/drivers/platform/clock.js";
import { isAlive } from "../../../../src/drivers/platform/procfs.js";
import { findDestination, findSource } from "../../../../src/drivers/qemu/guest/recovery-records.js";
import { keepHandle } from "../../../../src/drivers/qemu/process/handle-file.js";
import { QemuMuteError } from "../../../../src/drivers/qemu/process/process.js";
import { type Image, keepImages, makeImages } from "../../../../src/drivers/qemu/storage/images.js";
import { goneQemu, muteQemu, web } from "../../../support/in-process.js";
import { testLimitMs } from "../../../support/patience.js";
import { temporaryDirectory } from "../../../support/rpc-pair.js";

const here = { clock: systemClock };
const disks = [{ name: "disk", capacityBytes: 2 ** 20 }];
const base = { spec: { ...web, args: [] }, stream: {} };

function destination(images: readonly Image[] = []) {
  const directory = join(temporaryDirectory(), "in-m-1");
  mkdirSync(directory);
  return { ...base, images, sideArgs: [], directory, transport: "unix" };
}
const imageIn = (directory: string): Image => ({
  disk: "disk",
  path: join(directory, "image"),
  format: "raw",
});

test("an image that was created for an incoming guest is removed with its QEMU, unless the guest was taken", async () => {
  const place = temporaryDirectory();
  const image = imageIn(place);
  await makeImages([image], disks, "in-m-1");
  expect(existsSync(image.path)).toBe(true);
  expect((await findDestination(destination([image]), here)).qemu).toBeNull();
  expect(existsSync(image.path)).toBe(false);

  await makeImages([image], disks, "in-m-1");
  keepImages([image], "in-m-1");
  await findDestination(destination([image]), here);
  expect(existsSync(image.path)).toBe(true);
});

test("an image that existed before the migration is not removed", async () => {
  const image = imageIn(temporaryDirectory());
  writeFileSync(image.path, "someone's");
  await makeImages([image], disks, "in-m-1");
  await findDestination(destination([image]), here);
  expect(existsSync(image.path)).toBe(true);
});

test("a destination's QEMU that lives and does not answer counts neither as gone nor as safe to end", {
  timeout: testLimitMs,
}, async () => {
  const handle = await muteQemu();
  const host = destination();
  await keepHandle(host.directory, handle);
  await expect(findDestination(host, here)).rejects.toThrow(QemuMuteError);
  expect(isAlive(handle)).toBe(true);
  // A QEMU whose guest cannot have run is attached to, to be ended.
  const { qemu } = await findDestination(host, here, { isUndecided: true });
  expect(qemu?.pid).toBe(handle.pid);
  qemu?.release();
});

test("a source's QEMU that lives and does not answer does not count as gone, and one that has ended does", {
  timeout: testLimitMs,
}, async () => {
  const options = { pauseBeforeSwitchover: false, abortOnError: false, storage: null };
  const qemu = await muteQemu();
  await expect(findSource({ ...base, ...options, qemu }, here)).rejects.toThrow(QemuMuteError);
  expect((await findSource({ ...base, ...options, qemu: goneQemu() }, here)).qemu).toBeNull();
});
