// Turns what happened on a monitor into an answer: QEMU's no is `failed`, silence is `unknown`.

import { type Answer, failed, messageOf, unknown } from "../../../protocol/effect-result.js";
import { QmpCommandError, QmpConnectError } from "./errors.js";

/** Runs it; a QMP error becomes the answer that it amounts to. */
export async function answering<T>(run: () => Promise<Answer<T>>): Promise<Answer<T>> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof QmpCommandError) return failed(`QEMU refused ${error.command}`, [error.description]);
    if (error instanceof QmpConnectError) return failed(error.message);
    return unknown(messageOf(error));
  }
}
