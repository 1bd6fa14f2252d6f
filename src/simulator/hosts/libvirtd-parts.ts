// What the host world has beside its other parts when one of the two hosts is a libvirtd: what that host shows of its
// domain, how far Finish is, what the leader of the migration knows, and which of the listed windows a trace has entered.

import type { Conclusion, Evidence } from "../../protocol/evidence.js";
import { type AnyComponent, type Change, Component, type Read, type ValueOf } from "../components.js";
import type { Surroundings } from "./surroundings.js";

/** What keeps a switchoverd from knowing, or a libvirtd from asking, who runs the guest: docs/guarantees.md lists them. */
export const windows = [
  "the guest ends while Finish is carried out",
  "the connection breaks while Finish is asked",
  "the libvirtd restarts while Finish is asked",
  "Finish is refused after the handover",
  "the client is gone",
  "the source's daemon restarts",
] as const;
export type Window = (typeof windows)[number];

export interface LibvirtdParts {
  /** Prepare's connection. `broken`: the libvirtd has not noticed it yet. */
  readonly link: Component<"none" | "open" | "broken" | "closed">;
  /**
   * The domain there: `incoming` ends with Prepare's connection, `kept` does not, `later` was started again and has another
   * id; `inactive` has arrived, and was ended or moved on.
   */
  readonly domain: Component<"none" | "incoming" | "kept" | "later" | "inactive">;
  /** The guest was moved on to a third host by the libvirtd's user. */
  readonly isElsewhere: Component<boolean>;
  /** Finish under way: asked, the guest runs, or answered. */
  readonly message: Component<"none" | "asked" | "running" | "arrived" | "failed">;
  /** The connection over which Finish was asked has broken: its answer does not come. */
  readonly isCut: Component<boolean>;
  /** How often Finish was asked. */
  readonly tries: Component<number>;
  /** What the leader of the migration knows. */
  readonly finish: Component<Evidence["finish"]>;
  readonly isIdKnown: Component<boolean>;
  readonly concluded: Component<Conclusion | null>;
  /** A client leads the migration, and the source obeys it. */
  readonly isLed: Component<boolean>;
  /** The windows that the trace has entered: a bit for each. */
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

/** The connection is gone: a Finish that was asked over it may still be carried out, and is not answered. */
export const cut = (parts: LibvirtdParts, read: Read): Change[] => [
  ...(read(parts.link) === "open" ? [parts.link.becomes("broken")] : []),
  ...(read(parts.message) === "none" ? [] : [parts.isCut.becomes(true)]),
];
