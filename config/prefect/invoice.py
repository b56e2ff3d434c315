"""The flow that config/prefect.yaml runs: python config/prefect/invoice.py serves it as Invoice/on-order."""

from prefect import flow


@flow(name="Invoice")
def invoice(customer: str, total: float) -> str:
    if total <= 0:
        raise ValueError(f"nothing to pay: {total}")
    return f"{customer} pays {total}"


if __name__ == "__main__":
    invoice.serve(name="on-order")
