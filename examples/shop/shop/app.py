"""The web application."""

from flask import Flask, render_template_string, request

from shop import catalogue
from shop.database import create_tables
from shop.files import files
from shop.payments import payments

app = Flask(__name__)
app.register_blueprint(files)
app.register_blueprint(payments)

GREETING = "<h1>Welcome, {{ name }}</h1>"


@app.get("/hello")
def hello():
    """Greet a customer."""
    return render_template_string(GREETING, name=request.args.get("name", ""))


@app.get("/preview")
def preview():
    """Show how a text for the shop window would look."""
    return render_template_string(request.args.get("text", ""))


@app.get("/search")
def search():
    """Search the products."""
    rows = catalogue.search(request.args.get("q", ""))
    return {"products": [dict(row) for row in rows]}


if __name__ == "__main__":
    create_tables()
    app.run(debug=True)
