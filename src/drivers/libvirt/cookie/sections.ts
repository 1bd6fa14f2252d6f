// The sections of libvirt's migration cookie, and the switchover section, which libvirt ignores as unknown. Facts: libvirt's
// qemu_migration_cookie.c.

import {
  content,
  defaulted,
  element,
  host,
  type Model,
  many,
  needed,
  one,
  optional,
} from "../../domain-xml/xml/table.js";
import { anyText, someText, text, uuid, whole, yesNo } from "../../domain-xml/xml/values.js";

const told = host("");
const number = whole(0, Number.MAX_SAFE_INTEGER);
const port = whole(-1, 65_535);
const anyTextElement = element({ text: content(someText, told) });

/** Features that a receiver may be required to understand, by libvirt's names. */
export const cookieFeatures = [
  "graphics",
  "lockstate",
  "persistent",
  "network",
  "nbd",
  "statistics",
  "memory-hotplug",
  "cpu-hotplug",
  "cpu",
  "allowReboot",
  "capabilities",
  "block-dirty-bitmaps",
] as const;
export type CookieFeature = (typeof cookieFeatures)[number];

export const header = element({
  name: one(anyTextElement),
  uuid: one(element({ text: content(uuid, told) })),
  hostname: one(anyTextElement),
  hostuuid: one(element({ text: content(uuid, told) })),
  features: many("feature", element({ name: needed(anyText, told) })),
});

/** Every known section. */
export const sectionNames: readonly string[] = [
  "name",
  "uuid",
  "hostname",
  "hostuuid",
  "feature",
  "graphics",
  "lockstate",
  "domain",
  "network",
  "nbd",
  "statistics",
  "cpu",
  "capabilities",
  "blockDirtyBitmaps",
  "switchover",
];

export const graphics = element({
  type: needed(someText, told),
  port: needed(port, told),
  listen: needed(anyText, told),
  tlsPort: optional(port, told),
  cert: one(element({ info: needed(someText, told), value: needed(anyText, told) })),
});
export type CookieGraphics = Model<typeof graphics>;

export const lockstate = element({
  driver: needed(someText, told),
  leases: one(element({ text: content(anyText, told) })),
});
export type CookieLockstate = Model<typeof lockstate>;

export const network = element({
  interfaces: many(
    "interface",
    element({
      index: needed(number, told),
      vporttype: needed(someText, told),
      portdata: one(anyTextElement),
    }),
  ),
});
export type CookieNetwork = Model<typeof network>;

/** NBD disk mirrors: Begin lists the disks with their sizes in bytes, Prepare returns the port. */
export const nbd = element({
  port: optional(port, told),
  disks: many("disk", element({ target: needed(someText, told), capacity: needed(number, told) })),
});
export type CookieNbd = Model<typeof nbd>;

/** QEMU's migration capabilities; a capability that is `auto` on both sides is enabled automatically. */
export const capabilities = element({
  caps: many("cap", element({ name: needed(someText, told), auto: defaulted(yesNo, false, told) })),
});
export type CookieCapabilities = Model<typeof capabilities>;

export const blockDirtyBitmaps = element({
  disks: many(
    "disk",
    element({
      target: needed(someText, told),
      bitmaps: many("bitmap", element({ name: needed(someText, told), alias: needed(someText, told) })),
    }),
  ),
});
export type CookieBitmaps = Model<typeof blockDirtyBitmaps>;

/** Data that two switchoverds exchange. */
export const switchover = element({
  version: needed(whole(1, 1), told),
  migration: needed(text("a migration's id", /^[\w-]{1,64}$/), told),
  /** The address at which the source settles with the destination. */
  settle: optional(text("an address", /^[\w+.-]{1,16}:[^\s]{1,512}$/), told),
  /** The identity of the destination's journal: a host whose journal was lost notices it by a different identity. */
  journal: optional(text("a journal's identity", /^[\w-]{1,64}$/), told),
  /** In Begin's cookie: a secret that only these two hosts share. */
  secret: optional(text("a secret", /^[\w.-]{16,128}$/), told),
  /** In Finish's cookie: proves that the destination has taken the guest. */
  receipt: optional(text("a receipt", /^[\w-]{43}$/), told),
  /** The guest's memory in bytes, and the version of the source's QEMU, for the destination's checks. */
  memory: optional(number, told),
  qemu: optional(text("a version of QEMU", /^[\d.]{1,32}$/), told),
  /** The token that the destination presents at the fence before it runs the guest. */
  fencing: optional(text("a fencing token", /^[\w-]{1,64}$/), told),
  /** Backing chains of the mirrored disks that have one. */
  backings: many(
    "backing",
    element({ target: needed(someText, told), file: needed(someText, told), format: needed(someText, told) }),
  ),
  /** W3C trace context, level 1. */
  traceparent: optional(text("a trace parent", /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/), told),
  tracestate: optional(text("a trace state", /^[ -~]{1,512}$/), told),
});
export type CookieSwitchover = Model<typeof switchover>;
