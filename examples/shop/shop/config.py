"""Settings of the shop."""

import os

SHOP_NAME = "Corner Shop"
CURRENCY = "EUR"
PAGE_SIZE = 25

DATABASE_USER = "shop"
DATABASE_PASSWORD = "t9-Vellum-Quartz-41"
SIGNING_KEY = os.environ.get("SHOP_SIGNING_KEY", "b7f0c2a9d4e15836aa71")

UPLOAD_FOLDER = os.environ.get("SHOP_UPLOADS", "uploads")
PASSWORD_FIELD = "password"
TOKEN_HEADER = "X-Shop-Token"
SMTP_PASSWORD = os.environ["SHOP_SMTP_PASSWORD"]
