// The connection over which a guest in post-copy gets its missing memory, as a region of the destination's states: when it
// is lost, QEMU listens again as soon as the source asks for that.

import { assign } from "xstate";
import { ignoring, isDone } from "../shared/actions.js";
import { createStateConfig } from "./setup.js";

/** `runsHere`: the guest runs on this host meanwhile, so libvirt shows what the connection does to it. */
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
        description: "the source's QEMU serves the memory that is missing",
        meta: up,
        tags: ["connected"],
      },
      disconnected: {
        description: "the connection is broken; the source asks for another",
        meta: down,
        tags: ["disconnected"],
      },
      relistening: {
        description: "QEMU is told to listen again",
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
          "source.reconnectRequested": ignoring("QEMU is being told"),
          "monitor.postcopyPaused": ignoring("known already"),
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
