// The connection over which a guest in post-copy receives its missing memory, as a region of the destination's
// states: when it is lost, QEMU listens again as soon as the source asks for it.

import { assign } from "xstate";
import { ignoring, isDone } from "../shared/actions.js";
import { createStateConfig } from "./setup.js";

/** `runsHere`: the guest runs on this host meanwhile, so libvirt shows the effect of the connection on it. */
export const connection = ({ runsHere }: { readonly runsHere: boolean }) => {
  const up = runsHere ? ({ libvirt: "postcopy" } as const) : {};
  const down = runsHere ? ({ libvirt: "postcopyFailed" } as const) : {};
  return createStateConfig({
    initial: "connected",
    on: {
      "source.reconnectRequested": ".relistening",
      "monitor.postcopy": ".connected",
      "monitor.postcopyPaused": ".disconnected",
    },
    states: {
      connected: {
        description: "the source's QEMU serves the missing memory",
        meta: up,
        tags: ["connected"],
      },
      disconnected: {
        description: "the connection is broken; waits until the source asks for a new one",
        meta: down,
        tags: ["disconnected"],
      },
      relistening: {
        description: "makes QEMU listen again",
        meta: down,
        invoke: {
          src: "listenAgain",
          id: "listenAgain",
          onDone: [
            {
              guard: isDone,
              target: "listening",
              actions: assign(({ context, event: { output } }) =>
                output.kind === "done" ? { ...context, reconnection: output.value } : context,
              ),
            },
            { target: "disconnected" },
          ],
        },
        on: {
          "source.reconnectRequested": ignoring("the command is being sent to QEMU"),
          "monitor.postcopyPaused": ignoring("already known"),
        },
      },
      listening: {
        description: "QEMU listens again",
        meta: down,
        tags: ["listensAgain"],
        on: { "source.reconnectRequested": ignoring("the answer follows from the state") },
      },
    },
  });
};
