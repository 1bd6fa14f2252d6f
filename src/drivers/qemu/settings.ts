// Which migration capabilities and parameters QEMU is given, how they are put back to what they were, and how much
// memory there is to move.

import type { Limits } from "../../protocol/convergence.js";
import type { Settings } from "../../protocol/messages.js";
import type { CommandArguments, Monitor } from "./monitor/commands.js";
import { throttleCapability, throttleParameters } from "./throttle.js";

type Capabilities = CommandArguments<"migrate-set-capabilities">["capabilities"];

/**
 * Without `events` the switchover would have to be polled; without `return-path` a destination that cannot load the
 * stream leaves nobody running (QEMU 7.2: 7 of 12 failures).
 */
export const requiredCapabilities = ["events", "return-path"] as const;

/** Used where both QEMUs know them; the gate only when there is something to do in it (docs/decisions/0004). */
const wantedCapabilities = ["late-block-activate", "validate-uuid"] as const;
const gateCapability = "pause-before-switchover";
const ours: readonly string[] = [...requiredCapabilities, ...wantedCapabilities, gateCapability];
/** Put back to what they were, whether or not they are used. */
const kept: readonly string[] = [...ours, throttleCapability];

export interface Gate {
  /** Whether QEMU is to wait between the guest's stop and the switchover, until it is told to go on. */
  readonly pauseBeforeSwitchover: boolean;
}

/** What changes the stream; the others are each side's own affair, and a libvirtd does not tell of them. */
const ofTheStream: readonly string[] = ["return-path", "validate-uuid"];

/** Our capabilities, on or off, as far as this QEMU and, where it matters, the other know them; or the missing one. */
export function chooseCapabilities(
  own: readonly string[],
  peer: readonly string[],
  { pauseBeforeSwitchover }: Gate,
): Capabilities | { missing: string } {
  const usable = (it: string) => own.includes(it) && (peer.includes(it) || !ofTheStream.includes(it));
  const missing = requiredCapabilities.find((it) => !usable(it));
  if (missing !== undefined) return { missing };
  const state = (it: string) => it !== gateCapability || pauseBeforeSwitchover;
  return ours.filter(usable).map((capability) => ({ capability, state: state(capability) }));
}

/** Above any real link, and small enough for QEMU to do sums with. */
const unlimitedBytesPerSecond = 2 ** 50;

const parameterNames = ["max-bandwidth", "downtime-limit", ...throttleParameters] as const;

const limitParameters = ({ bandwidthMiBps, maxDowntimeMs }: Limits) => ({
  "max-bandwidth": bandwidthMiBps === 0 ? unlimitedBytesPerSecond : Math.round(bandwidthMiBps * 2 ** 20),
  "downtime-limit": Math.round(maxDowntimeMs),
});

export const setLimits = (monitor: Monitor, limits: Limits) =>
  monitor.execute("migrate-set-parameters", limitParameters(limits));

export const setCapabilities = (monitor: Monitor, capabilities: Capabilities) =>
  monitor.execute("migrate-set-capabilities", { capabilities });

/** QEMU's migration settings as far as we change them, and every migration capability that this QEMU knows. */
export async function readSettings(
  monitor: Monitor,
): Promise<{ known: readonly string[]; settings: Settings }> {
  const capabilities = await monitor.execute("query-migrate-capabilities", {});
  const parameters = await monitor.execute("query-migrate-parameters", {});
  return {
    known: capabilities.map((it) => it.capability),
    settings: {
      capabilities: Object.fromEntries(
        capabilities.filter((it) => kept.includes(it.capability)).map((it) => [it.capability, it.state]),
      ),
      parameters: Object.fromEntries(
        parameterNames.flatMap((name) => {
          const value = parameters[name];
          return value === undefined ? [] : [[name, value]];
        }),
      ),
    },
  };
}

export async function putBack(monitor: Monitor, { capabilities, parameters }: Settings): Promise<void> {
  const states = Object.entries(capabilities).map(([capability, state]) => ({ capability, state }));
  await setCapabilities(monitor, states);
  await monitor.execute("migrate-set-parameters", parameters);
}

/** What the destination must have as much of, hot-plugged memory included. */
export async function memoryBytes(monitor: Monitor): Promise<number> {
  const size = await monitor.execute("query-memory-size-summary", {});
  return size["base-memory"] + (size["plugged-memory"] ?? 0);
}
