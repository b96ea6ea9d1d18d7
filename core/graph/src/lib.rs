//! Graph files and device profiles: spans, diagnostics, schema, drawing.
