"""What a project depends on: as declared, as imported, as installed, and as advisories know it."""
