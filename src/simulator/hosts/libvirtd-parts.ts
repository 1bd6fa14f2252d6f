// Additional parts of the host world when one of the two hosts is a libvirtd: the visible state of its domain, the progress of
// Finish, the knowledge of the coordinator, and the listed windows that a trace has entered.

import type { Conclusion, Evidence } from "../../protocol/evidence.js";
import { type AnyComponent, type Change, Component, type Read, type ValueOf } from "../components.js";
import type { Surroundings } from "./surroundings.js";

/** Events after which a switchoverd cannot know, or a libvirtd does not ask, which side runs the guest; see docs/guarantees.md. */
export const windows = [
  "the guest ends during Finish",
  "the connection breaks during Finish",
  "the libvirtd restarts during Finish",
  "Finish fails after the handover",
  "the client is gone",
  "the source's daemon restarts",
] as const;
export type Window = (typeof windows)[number];

export interface LibvirtdParts {
  /** The connection of Prepare. `broken`: the libvirtd has not detected it yet. */
  readonly link: Component<"none" | "open" | "broken" | "closed">;
  /**
   * The domain at the libvirtd: `incoming` ends with Prepare's connection, `kept` does not, `later` was restarted and has another
   * id; `inactive` has arrived, and was then ended or migrated on.
   */
  readonly domain: Component<"none" | "incoming" | "kept" | "later" | "inactive">;
  /** The user of the libvirtd migrated the guest on to a third host. */
  readonly isElsewhere: Component<boolean>;
  /** The progress of Finish: sent, the guest runs, or answered. */
  readonly message: Component<"none" | "asked" | "running" | "arrived" | "failed">;
  /** The connection over which Finish was sent has broken: its answer is lost. */
  readonly isCut: Component<boolean>;
  /** The number of times that Finish was sent. */
  readonly tries: Component<number>;
  /** The knowledge of the coordinator. */
  readonly finish: Component<Evidence["finish"]>;
  readonly isIdKnown: Component<boolean>;
  readonly concluded: Component<Conclusion | null>;
  /** A client coordinates the migration, and the source follows its Confirm. */
  readonly isLed: Component<boolean>;
  /** The windows that the trace has entered, one bit each. */
  readonly entered: Component<number>;
}

export interface BesideLibvirtd extends Surroundings {
  readonly libvirtd: LibvirtdParts;
  readonly mode: "peer-to-peer" | "managed";
}

export const libvirtdParts = (): LibvirtdParts => ({
  link: new Component("link", 2),
  domain: new Component("domain", 3),
  isElsewhere: new Component("elsewhere", 1),
  message: new Component("message", 3),
  isCut: new Component("cut", 1),
  tries: new Component("tries", 2),
  finish: new Component("finish", 3),
  isIdKnown: new Component("id known", 1),
  concluded: new Component("concluded", 3),
  isLed: new Component("led", 1),
  entered: new Component("entered", windows.length),
});

export const allOfLibvirtd = (parts: LibvirtdParts): AnyComponent[] => Object.values(parts);

export const firstOfLibvirtd = (parts: LibvirtdParts): ValueOf[] => [
  parts.link.becomes("none"),
  parts.domain.becomes("none"),
  parts.isElsewhere.becomes(false),
  parts.message.becomes("none"),
  parts.isCut.becomes(false),
  parts.tries.becomes(0),
  parts.finish.becomes("unsent"),
  parts.isIdKnown.becomes(false),
  parts.concluded.becomes(null),
  parts.isLed.becomes(true),
  parts.entered.becomes(0),
];

const bitOf = (window: Window): number => 1 << windows.indexOf(window);

export const enters = ({ entered }: LibvirtdParts, window: Window): Change =>
  entered.changes(window, (now) => now | bitOf(window));

export const hasEntered = (entered: number, window: Window): boolean => (entered & bitOf(window)) !== 0;

/** The connection is lost: a Finish sent over it may still be executed, but is not answered. */
export const cut = (parts: LibvirtdParts, read: Read): Change[] => [
  ...(read(parts.link) === "open" ? [parts.link.becomes("broken")] : []),
  ...(read(parts.message) === "none" ? [] : [parts.isCut.becomes(true)]),
];
