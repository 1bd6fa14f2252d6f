// Names the tests that show the support for libvirt's migration flags and typed parameters. A flag or parameter without an
// entry here is shown by the tests whose titles contain its name or its virsh option.

import type { MigrateFlag } from "../src/drivers/libvirt/client/flags.js";
import type { CopiedStorage, MigrateOptions } from "../src/library/local/migrate.js";
import type { Limits } from "../src/protocol/convergence/limits.js";
import type { StreamOptions } from "../src/protocol/stream.js";

type Leaf = string | number | boolean | undefined | readonly unknown[];
type Path<T> = {
  [K in keyof T & string]-?: NonNullable<T[K]> extends Leaf ? K : K | `${K}.${Path<NonNullable<T[K]>>}`;
}[keyof T & string];
export type OptionPath =
  | keyof MigrateOptions
  | `destination.${keyof NonNullable<MigrateOptions["destination"]>}`
  | `limits.${keyof Limits}`
  | `storage.${Path<CopiedStorage>}`
  | `stream.${Path<StreamOptions>}`;

/** A test file below `test`, and the beginning of the test's title. */
export type Shown = readonly [file: string, name: string];

/** The tests of an option, and a note on the library's option: both are missing from the table of options. */
export interface Feature {
  readonly note?: string;
  readonly shown?: Shown;
  /** The test between hosts; absent when the option is rejected there, because one test covers all rejected ones. */
  readonly between?: Shown;
}

const storage = (name: string): Shown => ["e2e/local/storage.test.ts", name];
const stream = (name: string): Shown => ["e2e/local/stream.test.ts", name];
const postcopy = (name: string): Shown => ["e2e/local/postcopy.test.ts", name];
const plain = (name: string): Shown => ["e2e/local/migrate.test.ts", name];
const virsh = (name: string): Shown => ["e2e/hosts/virsh-migrate.test.ts", name];
const disks = (name: string): Shown => ["e2e/hosts/storage.test.ts", name];
const overThere = (name: string): Shown => ["e2e/hosts/postcopy.test.ts", name];
const streamThere = (name: string): Shown => ["e2e/hosts/stream.test.ts", name];
const levels = streamThere("resets QEMU's settings after an abort");
const inForce = streamThere("sets each option in both QEMUs, there and back");

export const flagRows: Readonly<Partial<Record<MigrateFlag, Feature>>> = {
  LIVE: {
    shown: plain("arrives over %s and returns without a gap in its count"),
    between: virsh("moves a paused guest without --live, and refuses a running one"),
  },
  PEER2PEER: {
    between: virsh("lets the source's daemon coordinate with --p2p, there and back"),
  },
  TUNNELLED: {
    between: ["e2e/hosts/tunnelled.test.ts", "works with virsh, there and back"],
  },
  PERSIST_DEST: {
    between: virsh("keeps the definition at the destination, and undefines it at the source"),
  },
  UNDEFINE_SOURCE: {
    between: virsh("keeps the definition at the destination, and undefines it at the source"),
  },
  PAUSED: {
    shown: plain("stays paused at the destination when it was paused before"),
    between: virsh("leaves the guest paused at the destination, under another name"),
  },
  NON_SHARED_DISK: {
    shown: storage("is whole at the destination with every write that was acknowledged"),
    between: disks("--copy-storage-all creates the missing %s image"),
  },
  NON_SHARED_INC: {
    shown: storage("only the data above a shared backing file is copied"),
    between: disks("--copy-storage-inc creates the image over the same backing file"),
  },
  CHANGE_PROTECTION: {
    between: virsh("moves a running guest, and both sides report its statistics"),
  },
  UNSAFE: {
    between: virsh("refuses to change the guest during its migration, and to leave its disks behind"),
  },
  OFFLINE: {
    between: ["e2e/hosts/peer-to-peer.test.ts", "moves the definition, and the guest keeps running"],
  },
  COMPRESSED: { shown: stream("xbzrle"), between: inForce },
  ABORT_ON_ERROR: {
    shown: ["e2e/local/disk-errors.test.ts", "with abortOnError %s a guest that a disk error stops"],
    between: ["e2e/local/disk-errors.test.ts", "with abortOnError %s a guest that a disk error stops"],
  },
  AUTO_CONVERGE: {
    note: "or a rule of `convergence`",
    shown: stream("auto-convergence"),
    between: inForce,
  },
  POSTCOPY: {
    shown: postcopy("a guest runs at the destination before its memory has arrived, and arrives whole"),
    between: overThere("resumes the guest at the destination before its memory has arrived"),
  },
  TLS: {
    note: "for memory and disks",
    shown: ["e2e/local/storage-tls.test.ts", "over a unix socket"],
    between: streamThere("encrypts the memory through a relay, and on parallel connections"),
  },
  PARALLEL: { shown: stream("two connections"), between: inForce },
  NON_SHARED_SYNCHRONOUS_WRITES: {
    shown: storage("a disk also arrives with synchronous writes"),
    between: disks("--copy-storage-inc creates the image over the same backing file"),
  },
  POSTCOPY_RESUME: {
    shown: postcopy("the migration reconnects when its connection breaks"),
  },
  ZEROCOPY: {
    shown: stream("an abort, the destination's death and an arrival reset QEMU's settings with zero-copy"),
    between: inForce,
  },
};

export const parameterRows: Readonly<Partial<Record<string, Feature>>> = {
  migrate_uri: {
    shown: plain("arrives over %s and returns without a gap in its count"),
    between: virsh("connects as --migrateuri and --listen-address specify"),
  },
  listen_address: {
    between: virsh("connects as --migrateuri and --listen-address specify"),
  },
  destination_name: {
    between: virsh("leaves the guest paused at the destination, under another name"),
  },
  destination_xml: {
    note: "QEMU's own arguments; `destination.sideArgs` for those of one side",
    shown: plain("when the destination refuses the stream, with QEMU's own words"),
    between: virsh("refuses to change the guest during its migration, and to leave its disks behind"),
  },
  persistent_xml: {
    between: virsh("keeps the requested definition, or the source's own"),
  },
  bandwidth: {
    shown: plain("applies a new bandwidth and a new maximum downtime during the migration"),
    between: virsh("can be observed, tuned and aborted by other clients"),
  },
  "bandwidth.postcopy": {
    shown: stream("post-copy enabled"),
    between: inForce,
  },
  graphics_uri: {
    note: "SPICE only; QEMU cannot redirect VNC clients",
    shown: ["e2e/local/after-arrival.test.ts", "are sent to the destination by the source"],
  },
  migrate_disks: {
    shown: storage("a disk that the guest does not have, and one whose image cannot be created"),
    between: disks("refuses contradictory options, and a disk that cannot be copied"),
  },
  disks_port: { between: disks("--p2p copies to the requested port") },
  disks_uri: { between: disks("--disks-uri copies over a unix socket") },
  compression: {
    shown: stream("zlib on parallel connections"),
    between: inForce,
  },
  "compression.mt.level": {
    shown: stream("compression in threads"),
    between: inForce,
  },
  "compression.mt.threads": {
    shown: stream("compression in threads"),
    between: inForce,
  },
  "compression.mt.dthreads": {
    shown: stream("compression in threads"),
    between: inForce,
  },
  "compression.zlib.level": {
    note: "QEMU 7.2 accepts it but keeps 1",
    shown: stream("a level of %s that QEMU accepts and ignores is reported"),
    between: levels,
  },
  "compression.zstd.level": {
    note: "as for zlib",
    shown: stream("a level of %s that QEMU accepts and ignores is reported"),
    between: levels,
  },
  "compression.xbzrle.cache": {
    shown: stream("xbzrle"),
    between: inForce,
  },
  "auto_converge.initial": {
    shown: stream("auto-convergence"),
    between: inForce,
  },
  "auto_converge.increment": {
    shown: stream("auto-convergence"),
    between: inForce,
  },
  "parallel.connections": {
    shown: stream("five connections"),
    between: inForce,
  },
  "tls.destination": {
    shown: stream("for another host"),
    between: streamThere("refuses a certificate that is for another host"),
  },
};
