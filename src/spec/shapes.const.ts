/** The shapes of the documents that runk reads. Evaluated when the program is bundled (see src/tasks/bundle.ts). */
import { mountsSchema, processSchema, resourcesSchema, specSchema } from "./schema.ts";
import { shapeOf } from "./shape.ts";

export default {
  spec: shapeOf(specSchema),
  process: shapeOf(processSchema),
  resources: shapeOf(resourcesSchema),
  mounts: shapeOf(mountsSchema),
};
