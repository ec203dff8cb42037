"""Product pictures and other uploads."""

import os
import tarfile
import tempfile
from pathlib import Path

from flask import Blueprint, abort, request, send_file

from shop.config import UPLOAD_FOLDER

files = Blueprint("files", __name__)


@files.get("/pictures")
def picture():
    """Send a product's picture."""
    name = request.args["name"]
    path = os.path.join(UPLOAD_FOLDER, name)
    return send_file(path)


@files.get("/manuals")
def manual():
    """Send a product's manual, from below the uploads and nowhere else."""
    base = Path(UPLOAD_FOLDER).resolve()
    path = (base / request.args["name"]).resolve()
    if not path.is_relative_to(base):
        abort(404)
    return send_file(path)


def import_pictures(archive):
    """Unpack an archive of pictures from a supplier."""
    with tarfile.open(archive) as pictures:
        pictures.extractall(UPLOAD_FOLDER)


def thumbnail_path():
    """Where to write a thumbnail."""
    return tempfile.mktemp(suffix=".png")


def publish(path):
    """Let the web server read a file."""
    os.chmod(path, 0o777)
