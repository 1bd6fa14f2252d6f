// Maps names that older versions have recorded to the current ones. No current name is also an older name, so that the mapping
// can be applied twice.

import type { Side } from "../../protocol/steps.js";

type Names = Readonly<Record<string, string>>;

/** State names by side, including nested states. */
const states: Readonly<Record<Side, Names>> = {
  source: {
    waking: "rehydrating",
    doubting: "awaitingExit",
    recovering: "probing",
    reviving: "probingPostcopy",
    askingBack: "settlingFailedPostcopy",
    abandoning: "killingFailedPostcopy",
    yielding: "conceding",
    losing: "reportingLoss",
    tellingStuck: "reportingStuck",
    takingBack: "retractingPostcopy",
    unmirroring: "cancellingMirrors",
    endingMirrors: "completingMirrors",
    told: "applied",
    telling: "applying",
  },
  destination: {
    waking: "rehydrating",
    recovering: "probing",
    runnable: "postcopyReady",
    entrusted: "awaitingDevices",
    landing: "checkingMemory",
    fetching: "fetchingPages",
    endingUnrecorded: "killingUnrecorded",
    leftBehind: "killFailed",
    line: "connection",
    hand: "handover",
  },
  coordinator: { waking: "rehydrating" },
};
const events: Names = {
  "coordinator.performAsked": "coordinator.performRequested",
  "coordinator.confirmAsked": "coordinator.confirmRequested",
  "coordinator.confirmCancelledAsked": "coordinator.confirmCancelledRequested",
  "coordinator.finishAsked": "coordinator.finishRequested",
  "coordinator.finishCancelledAsked": "coordinator.finishCancelledRequested",
  "person.aborted": "operator.aborted",
  "person.tuned": "operator.tuned",
  "person.postcopyAsked": "operator.postcopyRequested",
  "source.asked": "source.settleRequested",
  "source.yielded": "source.conceded",
  "source.reconnectAsked": "source.reconnectRequested",
};
const effects: Names = {
  tune: "setLimits",
  announce: "announcePostcopy",
  relax: "relaxLimits",
  rescue: "forceCancel",
  unmirror: "cancelMirrors",
  takeBack: "retractPostcopy",
  endMirrors: "completeMirrors",
  breakStream: "pausePostcopy",
  resumeStream: "resumePostcopy",
  inquireSource: "probeSource",
  inquireDestination: "probeDestination",
  relisten: "listenAgain",
  yield: "concede",
};
const delays: Names = { performAsked: "performRequested" };
/** Names of the deadlines of a side. */
const deadlines: Names = { performAskedMs: "performRequestedMs", backoffHighestMs: "maxBackoffMs" };

const renamed = (names: Names, name: string): string =>
  Object.hasOwn(names, name) ? (names[name] ?? name) : name;
const renamedIn = (names: Names, text: string): string =>
  text.replaceAll(/[a-z]+/gi, (word) => renamed(names, word));

/** Returns the recorded state, such as `settling.asking`, with its current names. */
export const currentState = (side: Side, recorded: string): string => renamedIn(states[side], recorded);

export function currentEvent(side: Side, recorded: string): string {
  const [, kind, rest = ""] = /^(xstate\.\w+\.)(.*)$/.exec(recorded) ?? [];
  if (kind === undefined) return renamed(events, recorded);
  if (kind === "xstate.after.") return kind + renamedIn({ ...states[side], ...delays }, rest);
  return kind + renamedIn(effects, rest);
}

export const currentDeadlines = (recorded: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(recorded).map(([name, value]) => [renamed(deadlines, name), value]));
