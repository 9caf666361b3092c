import { workerData } from "node:worker_threads";
import { serveStage } from "../threads/stage-thread.ts";
import { importFiles } from "./import-files.ts";
import type { Imported, ImportPlan } from "./import-plan.ts";

await serveStage<Imported>(async (context) => await importFiles(workerData as ImportPlan, context));
